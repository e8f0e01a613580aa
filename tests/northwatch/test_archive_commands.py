"""`northwatch verify` and `northwatch frames` on a real archive."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol import jsonl
from tests.northwatch.test_commands import Run, runner
from tests.store.archives import DAY_US, Machine

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
    done = run("verify")
    assert done.exit_code == 0
    assert "2026-09-21 to 2026-09-22: 2 chunks, 4 links, 20 frames" in done.stdout
    assert "everything holds" in done.stdout
    done = run("verify", "--terminal", "0" + IDENTITY, "--from", "2026-09-22", "--to", "2026-09-22", "--json")
    told = json.loads(done.stdout)
    assert told["holds"] and told["frames"] == 10 and told["broken"] is None
    copy = machine.directory / "copy"
    copy.write_bytes((machine.directory / "heads").read_bytes())
    assert run("verify", "--heads", str(copy)).exit_code == 0


def test_one_that_was_bent(run: Run, machine: Machine) -> None:
    path = sorted(machine.directory.rglob("*.nwa"))[1]
    content = bytearray(path.read_bytes())
    from store.chunk import Chunk

    content[int(Chunk(path).entries["offset"][1]) + 9] ^= 1
    path.write_bytes(content)
    done = run("verify")
    assert done.exit_code == 1
    assert f"first broken link: 2026-09-22, chunk 2, terminal {IDENTITY}" in done.stdout
    told = json.loads(run("verify", "--json").stdout)
    assert (told["broken"]["terminal"], told["broken"]["block"]) == (IDENTITY, 1)


def test_what_is_asked_wrongly(run: Run, tmp_path: Path) -> None:
    assert "no archive" in run("verify").stderr
    (tmp_path / "archive").mkdir()
    assert "nothing to prove" in run("verify").stdout
    for arguments in (["--from", "yesterday"], ["--terminal", "x"], ["--heads", "nowhere"]):
        assert run("verify", *arguments).exit_code == 2
    assert run("frames", IDENTITY, "--from", "soon").exit_code == 2


def test_frames_come_as_they_were(run: Run, machine: Machine) -> None:
    lines = run("frames", IDENTITY, *PERIOD).stdout.splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("2026-09-21T22:13:20.011000+08:00  7e0200")
    lines = run("frames", IDENTITY, "--jsonl", *PERIOD).stdout.splitlines()
    decoded = [jsonl.decode_record(json.loads(line)) for line in lines]
    assert [each["serial"] for each in decoded] == list(range(21))
    assert run("frames", "13900000002", *PERIOD).stdout == ""
