"""`northwatch decode` and `encode`: JSON lines for programs, one frame for people."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

from protocol.connection import Terminal
from protocol.messages.location import location


def wire() -> bytes:
    terminal = Terminal("13900000001")
    terminal.report(location(41.8, 123.4, datetime(2025, 6, 1, 4, tzinfo=UTC), speed_kmh=61.5))
    return terminal.data_to_send()


def run(*arguments: str, lines: str = "", command: str = "decode") -> "subprocess.CompletedProcess[str]":
    whole = [sys.executable, "-m", "northwatch", command, *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(whole, input=lines, capture_output=True, text=True, check=False, env=environment)


def test_each_line_is_answered_and_a_bad_one_costs_itself_only() -> None:
    asked = [
        json.dumps({"id": "a", "hex": wire().hex()}),
        "no json",
        "[]",
        "",
        json.dumps({"id": "b", "hex": "7e00"}),
        json.dumps({"id": "c", "hex": wire().hex()}),
    ]
    done = run("--jsonl", "-", lines="\n".join(asked) + "\n")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(answer["id"], answer["ok"]) for answer in answers] == [
        ("a", True),
        (None, False),
        (None, False),
        ("b", False),
        ("c", True),
    ]
    assert "line 2" in answers[1]["error"]
    assert answers[0]["msg_id"] == "0x0200"
    assert answers[0]["terminal"] == "13900000001"
    assert answers[0]["body"]["latitude"] == 41.8
    assert answers[0]["body"]["time"] == "2025-06-01T12:00:00"
    assert answers[0]["body"]["speed_kmh"] == 61.5


def test_one_frame_is_shown_and_what_is_none_is_told() -> None:
    spaced = " ".join(f"{byte:02x}" for byte in wire())
    shown = run(spaced)
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["msg_id"] == "0x0200"
    broken = run("7e0102037e")
    assert broken.returncode == 1
    assert "error" in json.loads(broken.stdout)
    assert run("xyz").returncode == 1


def test_a_wrong_command_line_is_told() -> None:
    wrong = ((), ("7e7e", "--jsonl", "-"), ("--jsonl", "missing.jsonl"), ("7e7e", "--json"))
    for arguments in (*wrong, ("--explain", "xyz"), ("--explain", "7e7e", "--edition", "2020")):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_every_byte_is_explained_in_words() -> None:
    shown = run("--explain", wire().hex(" "))
    assert shown.returncode == 0, shown.stderr
    for said in ("位置信息汇报", "speed_kmh", "61.5 km/h", "ACC开", "JT/T 808-2013 §8.18", "校验码"):
        assert said in shown.stdout


def test_what_is_wrong_is_explained_in_json() -> None:
    broken = bytearray(wire())
    broken[-2] ^= 1
    shown = run("--explain", "--json", broken.hex())
    assert shown.returncode == 1
    (finding,) = json.loads(shown.stdout)["units"][0]["findings"]
    assert (finding["code"], finding["offset"]) == ("bad_checksum", len(broken) - 2)
    assert f"0x{broken[-2] ^ 1:02X}" in finding["en"] and f"0x{broken[-2]:02X}" in finding["zh"]


def test_what_decode_shows_encode_writes() -> None:
    shown = run(wire().hex())
    written = run(shown.stdout, command="encode")
    assert written.stdout.strip() == wire().hex()
    lines = run("--jsonl", "-", lines=json.dumps({"hex": wire().hex()}) + "\n").stdout
    answers = [
        json.loads(line)
        for line in run("--jsonl", "-", lines=f"{lines}[]\n", command="encode").stdout.splitlines()
    ]
    assert answers[0]["hex"] == wire().hex()
    assert answers[1]["ok"] is False


def test_what_cannot_be_written_names_the_field() -> None:
    done = run('{"msg_id": "0x8300", "terminal": "1", "body": {"flag": 1}}', command="encode")
    assert done.returncode == 1
    assert "'text'" in done.stderr
