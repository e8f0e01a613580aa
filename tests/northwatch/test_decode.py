"""`northwatch decode`: JSON lines for programs, one frame for people."""

import json
import subprocess
import sys
from datetime import UTC, datetime

from protocol.connection import Terminal
from protocol.messages.location import location


def wire() -> bytes:
    terminal = Terminal("13900000001")
    terminal.report(location(41.8, 123.4, datetime(2025, 6, 1, 4, tzinfo=UTC), speed_kmh=61.5))
    return terminal.data_to_send()


def run(*arguments: str, lines: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "northwatch", "decode", *arguments]
    return subprocess.run(command, input=lines, capture_output=True, text=True, check=False)


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
    for arguments in ((), ("7e7e", "--jsonl", "-"), ("--jsonl", "missing.jsonl")):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
