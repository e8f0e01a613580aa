"""Pasted hex, explained."""

import asyncio
import os
import signal
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from monitor.explainer import PROCESSES, START_S, TIME_S, Explainers, TakesTooLong
from monitor.gate import MAX_BODY
from monitor.routes.explain import MAX_BYTES, Explained
from protocol.connection import Terminal
from protocol.edition import Edition
from protocol.messages.location import location
from tests.monitor.conftest import Served, until

PATH = "/api/v1/explain"
NOON = datetime(2026, 1, 31, 4, 0, tzinfo=UTC)


def report(edition: Edition = Edition.E2013) -> bytes:
    terminal = Terminal("13900000001", edition)
    terminal.report(location(41.8, 123.4, NOON, speed_kmh=61.5))
    return terminal.data_to_send()


async def test_an_operator_is_told_what_every_byte_means(anna: httpx.AsyncClient) -> None:
    answer = await anna.post(PATH, json={"hex": report().hex(" ").upper()})
    assert answer.status_code == 200
    explained = answer.json()
    Explained.model_validate(explained, strict=True)
    assert explained["is_valid"] and explained["hex"] == report().hex()
    (unit,) = explained["units"]
    assert (unit["msg_id"], unit["zh"], unit["terminal"]) == ("0x0200", "位置信息汇报", "13900000001")
    fields = [part for part in unit["parts"] if part["kind"] == "field"]
    assert "".join(part["hex"] for part in fields) == report().hex()
    (speed,) = [part for part in fields if part["field"] == "speed_kmh"]
    assert (speed["value"], speed["unit"], speed["clause"]) == (61.5, "km/h", "JT/T 808-2013 §8.18")


async def test_what_is_wrong_is_told(anna: httpx.AsyncClient) -> None:
    broken = bytearray(report())
    broken[-2] ^= 1
    explained = (await anna.post(PATH, json={"hex": broken.hex()})).json()
    assert not explained["is_valid"]
    (finding,) = explained["units"][0]["findings"]
    assert (finding["code"], finding["severity"]) == ("bad_checksum", "error")
    assert finding["offset"] == len(broken) - 2


async def test_fragments_and_hints_are_taken(anna: httpx.AsyncClient) -> None:
    terminal = Terminal("1", Edition.E2019)
    terminal.say(0x0E00, bytes(1500))
    pieces = [f"7e{content.hex()}7e" for content in terminal.data_to_send().split(b"\x7e") if content]
    said = {"hex": "\n".join(pieces), "edition": "2019", "profile": "gps51"}
    assert len((await anna.post(PATH, json=said)).json()["units"]) == len(pieces)
    choices = (await anna.get(PATH)).json()
    assert choices["editions"] == ["2011", "2013", "2019"]
    assert "gps51" in [profile["name"] for profile in choices["profiles"]]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"hex": "7e0g"}, "hex"),
        ({"hex": "7e0"}, "hex"),
        ({"hex": "00" * (MAX_BYTES + 1)}, "hex"),
        ({"hex": " " * (4 * MAX_BYTES + 1)}, "hex"),
        ({"hex": "00", "profile": "nobody's"}, "profile"),
        ({"hex": "00", "edition": "2020"}, "edition"),
        ({}, "hex"),
    ],
)
async def test_what_cannot_be_explained_is_refused(
    anna: httpx.AsyncClient, said: dict[str, object], field: str
) -> None:
    answer = await anna.post(PATH, json=said)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["errors"][0]["field"].startswith(field)


async def test_the_limit_is_named(anna: httpx.AsyncClient) -> None:
    (fault,) = (await anna.post(PATH, json={"hex": "00" * (MAX_BYTES + 1)})).json()["errors"]
    assert (fault["code"], fault["params"]) == ("too_many_bytes", {"bytes": MAX_BYTES})
    answer = await anna.post(PATH, json={"hex": "0" * MAX_BODY})
    assert (answer.json()["code"], answer.json()["params"]) == ("too_large", {"bytes": MAX_BODY})


async def test_strangers_are_told_nothing(stranger: httpx.AsyncClient) -> None:
    for answer in (await stranger.post(PATH, json={"hex": "7e"}), await stranger.get(PATH)):
        assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")


async def test_many_at_once_are_bounded_and_nobody_else_waits_for_a_connection(
    anna: httpx.AsyncClient, bo: httpx.AsyncClient
) -> None:
    heavy = {"hex": "5b" * MAX_BYTES}
    asked = asyncio.gather(*(anna.post(PATH, json=heavy) for _ in range(40)))
    for _ in range(20):
        assert (await bo.get("/api/v1/me")).status_code == 200
    assert (await bo.post(PATH, json={"hex": report().hex()})).status_code == 200
    answers = Counter(answer.status_code for answer in await asked)
    assert set(answers) <= {200, 422, 429} and answers[429] >= 39 - answers[200]
    assert (await anna.post(PATH, json={"hex": report().hex()})).status_code == 200


async def test_what_takes_too_long_is_ended_and_the_next_is_explained(
    monitor: Served, anna: httpx.AsyncClient
) -> None:
    explainers = monitor.app.state.center.explainers
    assert (await anna.post(PATH, json={"hex": report().hex()})).status_code == 200
    (process,) = explainers._idle
    process.send_signal(signal.SIGSTOP)
    explainers._time_s = 0.2
    answer = await anna.post(PATH, json={"hex": report().hex()})
    assert (answer.status_code, answer.json()["code"]) == (422, "takes_too_long")
    assert await process.wait() == -signal.SIGKILL
    explainers._time_s = TIME_S
    assert (await anna.post(PATH, json={"hex": report().hex()})).status_code == 200


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_start_that_hangs_is_ended_and_keeps_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """… whether its time is over or the one who asked is gone."""
    silent = tmp_path / "python"
    silent.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/started\nexec sleep 3600\n")
    silent.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(silent))

    def started() -> list[int]:
        written = tmp_path / "started"
        return [int(line) for line in written.read_text().split()] if written.exists() else []

    explainers = Explainers(start_s=0.5)
    for by in range(PROCESSES + 1):
        with pytest.raises(TakesTooLong):
            await explainers.explain(by, [b"~~"])
    explainers._start_s = START_S
    asked = asyncio.create_task(explainers.explain(1, [b"~~"]))
    before = len(started())

    async def is_started() -> bool:
        return len(started()) > before

    async def are_gone() -> bool:
        return not any(map(is_alive, started()))

    await until(is_started)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await until(are_gone)
    monkeypatch.undo()
    assert b"0x0200" in await explainers.explain(1, [report()])
    await explainers.close()
