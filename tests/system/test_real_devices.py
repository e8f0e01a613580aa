"""Frames of real devices, through a socket, the log and the worker, into the database.

The frames belong to other projects and stay outside of this one: `../shared/vectors` beside the repository,
or the folder that NORTHWATCH_SHARED names. Without them the test skips and says so.
"""

import json
import os
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.crash.installation import Installation

ROOT = Path(__file__).parents[2]
VECTORS = Path(os.environ.get("NORTHWATCH_SHARED", ROOT.parent / "shared")) / "vectors" / "public.jsonl"
GMT8 = timedelta(hours=8)
PATIENCE_S = 300
"""Far longer than it takes."""

pytestmark = pytest.mark.skipif(not VECTORS.exists(), reason=f"NO REAL FRAMES: {VECTORS} does not exist")


@pytest.fixture(scope="module")
def place() -> Iterator[Installation]:
    # Not pytest's own directory: the embedded server's account may not enter that.
    directory = Path(tempfile.mkdtemp(prefix="northwatch-devices-"))
    try:
        with Installation(directory) as place:
            place.wait_for_gateway()
            yield place
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def devices() -> list[dict[str, Any]]:
    """The vectors that a real device sent."""
    vectors = [json.loads(line) for line in VECTORS.read_text("utf-8").splitlines()]
    return [v for v in vectors if v["id"].startswith("traccar-") and isinstance(v["hex"], str)]


def send(port: int, data: bytes, chance: random.Random) -> None:
    """Send in random chunks, and read until the gateway, which has answered everything, ends the link."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data:
            size = chance.choice((1, 2, 3, 7, 20, 60, 300))
            link.sendall(data[:size])
            data = data[size:]
            if chance.random() < 0.1:
                time.sleep(0.002)
        link.shutdown(socket.SHUT_WR)
        while link.recv(65536):
            pass


@pytest.mark.parametrize("seed", [1, 2])
def test_real_frames_reach_the_database(place: Installation, seed: int) -> None:
    vectors = devices()
    send(place.port, b"".join(bytes.fromhex(v["hex"]) for v in vectors), random.Random(seed))
    positions = [v for v in vectors if v["msg_id"] == "0x0200" and "latitude" in v["expect"]]
    wanted = {expected(v): v["id"] for v in positions if v["valid"]}
    broken = {v["hex"]: v["id"] for v in vectors if v["valid"] is False and v["kind"] == "codec"}
    assert wanted, "no vector with a position was found"
    missing, lost = set(wanted.values()), set(broken.values())
    deadline = time.monotonic() + PATIENCE_S
    while (missing or lost) and time.monotonic() < deadline:
        time.sleep(0.2)
        missing -= {wanted[key] for key in wanted.keys() & stored_positions(place)}
        kept = quarantined(place)
        lost -= {name for hex_, name in broken.items() if any(inner in hex_ for inner in kept)}
    assert not missing, f"not in positions: {missing}\n{place.output('worker')}"
    assert not lost, f"neither stored nor in quarantine: {lost}"
    assert all(quarantined(place).values()), "something is in quarantine without a reason"


def expected(vector: dict[str, Any]) -> tuple[str, float, float, datetime]:
    values = vector["expect"]
    reported_at = datetime.fromisoformat(values["time"]).replace(tzinfo=UTC) - GMT8
    identity = vector["header_derived"]["phone_raw"] if "header_derived" in vector else values["phone"]
    return identity.lstrip("0").upper(), values["latitude"], values["longitude"], reported_at


def stored_positions(place: Installation) -> set[tuple[str, float, float, datetime]]:
    with place.connect() as database:
        rows: list[Any] = database.execute(
            "SELECT t.identity, p.lat, p.lon, p.reported_at"
            " FROM positions p JOIN terminals t ON t.id = p.terminal_id WHERE p.lat IS NOT NULL"
        ).fetchall()
    return {(identity, round(lat, 6), round(lon, 6), at) for identity, lat, lon, at in rows}


def quarantined(place: Installation) -> dict[str, object]:
    """What is in quarantine, without its delimiters, and why."""
    with place.connect() as database:
        rows = database.execute("SELECT raw, reason FROM quarantine").fetchall()
    return {bytes(raw).hex().strip("7e"): reason for raw, reason in rows if isinstance(raw, bytes)}
