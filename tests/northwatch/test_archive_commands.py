"""`northwatch verify` and `northwatch frames` on a real archive."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Never

import pytest

from protocol import jsonl
from store.blobs import Blobs
from store.log import LogReader
from tests.northwatch.test_commands import Run, runner
from tests.store.archives import DAY_US, Machine
from tests.store.test_damage import bend, skip_all
from tests.worker.stories import Story, facts, work
from tests.worker.test_fragments import picture

IDENTITY = "13900000001"
PERIOD = ("--from", "2026-09-20", "--to", "2026-09-30T00:00:00+00:00")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command line without a database: none is needed."""
    return runner(tmp_path, None)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    for turn in range(2):
        machine.drive(0, IDENTITY, 10 * turn, 10)
        machine.consume()
        machine.now_us += DAY_US
    machine.seal()
    machine.drive(0, IDENTITY, 20, 1)
    yield machine
    machine.close()


def test_an_archive_that_holds(run: Run, machine: Machine) -> None:
    done = run("verify", "--archive")
    assert done.exit_code == 0
    assert "2026-09-21 to 2026-09-22: 2 chunks, 4 links, 20 frames" in done.stdout
    assert "everything holds" in done.stdout
    done = run(
        "verify",
        "--archive",
        "--terminal",
        "0" + IDENTITY,
        "--from",
        "2026-09-22",
        "--to",
        "2026-09-22",
        "--json",
    )
    told = json.loads(done.stdout)
    assert told["holds"] and told["frames"] == 10 and told["broken"] is None
    copy = machine.directory / "copy"
    copy.write_bytes((machine.directory / "heads").read_bytes())
    assert run("verify", "--archive", "--heads", str(copy)).exit_code == 0


def test_one_that_was_bent(run: Run, machine: Machine) -> None:
    path = sorted(machine.directory.rglob("*.nwa"))[1]
    content = bytearray(path.read_bytes())
    from store.chunk import Chunk

    content[int(Chunk(path).entries["offset"][1]) + 9] ^= 1
    path.write_bytes(content)
    done = run("verify", "--archive")
    assert done.exit_code == 1
    assert f"first broken link: 2026-09-22, chunk 2, terminal {IDENTITY}" in done.stdout
    told = json.loads(run("verify", "--archive", "--json").stdout)
    assert (told["broken"]["terminal"], told["broken"]["block"]) == (IDENTITY, 1)


def test_what_is_asked_wrongly(run: Run, tmp_path: Path) -> None:
    assert "no archive" in run("verify", "--archive").stderr
    (tmp_path / "archive").mkdir()
    assert "nothing to prove" in run("verify", "--archive").stdout
    for arguments in (["--from", "yesterday"], ["--terminal", "x"], ["--heads", "nowhere"]):
        assert run("verify", "--archive", *arguments).exit_code == 2
    assert run("frames", IDENTITY, "--from", "soon").exit_code == 2


def test_frames_come_as_they_were(run: Run, machine: Machine) -> None:
    lines = run("frames", IDENTITY, *PERIOD).stdout.splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("2026-09-21T22:13:20.011000+08:00  7e0200")
    same = ("--from", "2026-09-19T16:00Z", "--to", "2026-09-30T08:00+08:00")
    assert run("frames", IDENTITY, *same).stdout.splitlines() == lines
    lines = run("frames", IDENTITY, "--jsonl", *PERIOD).stdout.splitlines()
    decoded = [jsonl.decode_record(json.loads(line)) for line in lines]
    assert [each["serial"] for each in decoded] == list(range(21))
    assert run("frames", "13900000002", *PERIOD).stdout == ""


def test_who_has_seen_enough_is_told_nothing(machine: Machine, tmp_path: Path) -> None:
    """`northwatch frames … | head`: more than a pipe holds, and nobody who reads it."""
    machine.drive(0, IDENTITY, 21, 3000)
    command = [sys.executable, "-m", "northwatch", "frames", IDENTITY, *PERIOD]
    environment = os.environ | {"NORTHWATCH_DATA_DIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b"2026-09-21T22:13:20.011000+08:00")
        process.stdout.close()
        assert process.stderr.read() == b""


def test_media_are_proved_with_the_archive(tmp_path: Path, dsn: str) -> None:
    run = runner(tmp_path, dsn)
    story = Story(tmp_path / "log" / "0")
    session = story.open("13912345678")
    for number in range(3):
        story.say(session, 0x0801, picture(number, bytes([number]) * 900))
        story.tick()
    work(story, dsn, tmp_path / "worker")
    assert "media: 3 files, 0.0 MB: each has its hash" in run("verify").stdout
    blobs = Blobs(tmp_path / "media")
    bent, gone, _ = (row["sha256"] for row in sorted(facts(dsn)["media"], key=lambda row: row["sha256"]))
    blobs.path(gone).unlink()
    blobs.path(bent).write_bytes(b"another")
    done = run("verify")
    assert (
        done.exit_code == 1 and f"broken at media/{bent.hex()[:2]}/{bent.hex()}: its content" in done.stdout
    )
    assert "of terminal 13912345678, received 2026-06-01 12:00:0" in done.stdout
    blobs.path(bent).unlink()
    told = json.loads(run("verify", "--json").stdout)
    assert (told["holds"], told["media"]["files"], told["media"]["bytes"]) == (False, 0, 0)
    assert told["media"]["broken"]["what"] == "the file is missing" and told["broken"] is None
    for elsewhere in (("--terminal", "13912345679"), ("--from", "2026-06-02"), ("--to", "2026-05-31")):
        assert "media: 0 files, 0.0 MB: none to prove" in run("verify", *elsewhere).stdout
    assert run("verify", "--from", "2026-06-01", "--to", "2026-06-01").exit_code == 1


def test_a_chunk_that_is_set_aside_is_read_proved_and_told(run: Run, machine: Machine) -> None:
    def fail(*_: object) -> Never:
        raise IndexError("[/] is out of bounds")

    machine.identify = fail
    machine.archivist = machine.started()
    machine.consume()
    machine.seal()
    done = run("verify", "--archive")
    assert done.exit_code == 0 and "everything holds" in done.stdout
    assert "chunk 3 of 2026-09-23 is set aside" in done.stdout and "[/] is out of bounds" in done.stdout
    (aside,) = json.loads(run("verify", "--archive", "--json").stdout)["set_aside"]
    assert aside["chunk"] == 3
    assert len(run("frames", IDENTITY, *PERIOD).stdout.splitlines()) == 21


def test_what_was_damaged_and_skipped_is_named(run: Run, machine: Machine) -> None:
    log = LogReader(machine.logs / "0")
    _, *unread = log.read(log.consumed())
    bend(machine.logs / "0", unread[0].position + 40)
    (damage,) = skip_all(machine.logs / "0", machine.logs)
    machine.consume()
    machine.seal()
    done = run("verify", "--archive")
    assert done.exit_code == 0
    said = f"{damage.end - damage.begin} bytes of log {log.log_id} at position {damage.begin}"
    assert said in " ".join(done.stdout.split()) and "by anna" in done.stdout
    (told,) = json.loads(run("verify", "--archive", "--json").stdout)["skipped"]
    assert (told["begin"], told["end"], told["by"]) == (damage.begin, damage.end, "anna")
    assert json.loads(run("verify", "--archive", "--to", "2026-09-22", "--json").stdout)["skipped"] == []
