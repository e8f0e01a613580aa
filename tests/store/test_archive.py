"""The archive: what goes in comes out, in one order, once, whatever happens while it is written."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.columns import identities
from protocol.columns.dtypes import I64, Flags
from protocol.frame import escape
from store import heads
from store.archive import ArchiveInUse, Archivist, Cadence, _locked, days, remove_day
from store.chunk import MAGIC, TRAILER, Chunk, ChunkDamaged, Identify
from store.chunk import _root as chunk_root
from store.log import LogReader
from store.proof import prove
from store.records import Bytes, CloseReason, Rejected, SessionClosed, Started, Tick
from tests.store.archives import ALWAYS, BEGIN_US, DAY_US, Machine, frame, frames, later, plain

TERMINALS = ["13900000001", "13900000002", "ABCDEF", "0", "13900000003"]
ODD = ["F" * 16, "F" * 20, "12345678901234567890", "10000013900000001", "10000000000000000"]
"""Ids of the 2019 header, some with the low 64 bits of others."""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, slots=2)
    yield machine
    machine.close()


SAYINGS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(
            ["frames", "raw", "rejected", "closed", "tick", "consume", "hold", "seal", "restart", "night"]
        ),
        st.lists(
            st.tuples(st.sampled_from([*TERMINALS, *ODD]), st.binary(max_size=40)), min_size=1, max_size=6
        ),
    ),
    max_size=40,
)


def without(poison: str) -> Identify:
    """Give an `identities` that fails where a terminal is among those of the frames."""

    def identify(data: Bytes, lengths: I64, as_received: Flags) -> tuple[list[str], I64]:
        names, which = identities(data, lengths, as_received)
        if poison in names:
            raise IndexError(f"{poison} is too much")
        return names, which

    return identify


@settings(max_examples=40)
@given(SAYINGS, st.sampled_from([None, *TERMINALS, *ODD]))
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory,
    sayings: list,  # type: ignore[type-arg]
    poison: str | None,
) -> None:
    machine = Machine(tmp_path_factory.mktemp("archive"), slots=3)
    if poison is not None:  # chunks with it are set aside, and all the others find what is theirs
        machine.identify = without(poison)
        machine.archivist = machine.started()
    said: dict[str, list[bytes]] = {each: [] for each in [*TERMINALS, *ODD]}
    serial = 0
    for slot, what, contents in sayings:
        if what == "frames":
            made = [frame(identity, serial, body) for identity, body in contents]
            machine.say(slot, frames(slot + 1, made))
            for (identity, _), each in zip(contents, made, strict=True):
                said[identity].append(each)
            serial += 1
        elif what == "raw":
            identity, body = contents[0]
            wire = b"\x7e" + escape(frame(identity, serial, body)) + b"\x7e"
            machine.say(slot, frames(slot + 1, [wire], raw=True))
            said[identity].append(wire)
        elif what == "rejected":
            machine.say(slot, Rejected(slot, "bad_checksum", contents[0][1]), Started("gateway"))
        elif what == "closed":
            machine.say(slot, SessionClosed(slot + 1, CloseReason.IDLE))
        elif what == "tick":
            machine.say(slot, Tick(3))
        elif what == "consume":
            machine.consume()
        elif what == "hold":
            machine.hold(slot)
        elif what == "seal":
            machine.seal()
        elif what == "restart":
            machine.archivist = machine.started()
        else:
            machine.now_us += DAY_US // 3
    known = said.keys() - {poison}
    assert {each: machine.found(each) for each in known} == {each: said[each] for each in known}
    machine.held.clear()
    machine.consume()
    machine.seal()
    assert plain(machine.archived()) == plain(machine.kept)
    assert {each: machine.found(each) for each in known} == {each: said[each] for each in known}
    proof = prove(machine.directory, logs=machine.logs)
    assert proof.holds, proof.broken
    assert proof.frames == sum(map(len, said.values()))
    assert bool(proof.set_aside) is bool(poison and said[poison])
    assert machine.started().step(0) is None and all(
        prove(machine.directory, identity=each).holds for each in known
    )
    machine.close()


def test_a_terminal_that_changes_processes_has_one_chain(machine: Machine) -> None:
    for turn in range(6):
        machine.drive(turn % 2, "13900000001", 10 * turn, 10)
    machine.consume()
    assert machine.seal() > 1
    found = list(machine.archive.frames("13900000001", *ALWAYS))
    assert [int.from_bytes(each.data[10:12]) for each in found] == list(range(60))
    assert {each.session for each in found} == {1000, 1001}
    assert all(each.chunk for each in found)
    assert prove(machine.directory).holds


def test_what_one_log_holds_back_the_others_wait_with(machine: Machine) -> None:
    machine.drive(0, "13900000001", 0, 5)
    machine.hold(0)
    for turn in range(1, 4):
        machine.drive(turn % 2, "13900000001", 5 * turn, 5)
    machine.consume()
    assert machine.seal()
    assert len(machine.archived()) == len(machine.kept)  # the rest is in the logs
    machine.hold(0)
    machine.consume()
    assert machine.seal()
    assert plain(machine.archived()) == plain(machine.kept)
    assert [int.from_bytes(each[10:12]) for each in machine.found("13900000001")] == list(range(20))


def test_frames_are_found_by_time(machine: Machine) -> None:
    machine.drive(0, "13900000001", 0, 20)
    machine.consume()
    machine.seal()
    machine.drive(1, "13900000001", 20, 5)
    every = list(machine.archive.frames("13900000001", *ALWAYS))
    assert [each.chunk > 0 for each in every] == [True] * 20 + [False] * 5
    from store.times import from_us

    since, until = from_us(every[7].received_us), from_us(every[22].received_us)
    assert list(machine.archive.frames("13900000001", since, until)) == every[7:22]
    assert list(machine.archive.frames("13900000002", *ALWAYS)) == []


def test_the_log_keeps_what_is_not_archived(machine: Machine) -> None:
    machine.drive(0, "13900000001", 0, 300)
    machine.consume()
    assert machine.writers[0].trim() == 0
    machine.seal()
    assert machine.writers[0].trim() > 1
    assert len(machine.found("13900000001")) == 300


def test_a_day_has_its_own_chunks(machine: Machine) -> None:
    for _ in range(3):
        machine.drive(0, "13900000001", 0, 3)
        machine.consume()
        machine.now_us += DAY_US
    machine.seal()
    assert [each.isoformat() for each in days(machine.directory)] == [
        "2026-09-21",
        "2026-09-22",
        "2026-09-23",
    ]
    day = days(machine.directory)[1]
    proof = prove(machine.directory, between=(day, day))
    assert proof.holds and proof.chunks == 1 and proof.first == proof.last == day


def test_a_chunk_waits_until_it_is_worth_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, cadence=Cadence(chunk_bytes=4000, every_s=3600))
    machine.drive(0, "13900000001", 0, 3)
    machine.consume()
    assert machine.archivist.step(machine.now_us) is None
    assert machine.archivist.waiting_bytes > 0
    assert machine.archivist.waiting_since_us == BEGIN_US + 1000
    assert machine.archivist.step(machine.now_us + 3601_000_000) is not None  # it has waited for long
    machine.drive(0, "13900000001", 0, 100)
    machine.consume()
    assert machine.archivist.step(machine.now_us) is not None  # it is much
    machine.close()


def test_retention_deletes_days_and_keeps_their_heads(machine: Machine) -> None:
    for turn in range(3):
        machine.drive(0, "13900000001", 10 * turn, 10)
        machine.consume()
        machine.now_us += DAY_US
    machine.seal()
    first, second, third = days(machine.directory)
    assert remove_day(machine.directory, second, why="older than 200 days", now=later(200)) == 1
    assert days(machine.directory) == [first, third]
    proof = prove(machine.directory)
    assert proof.holds
    assert [(each.day, each.why) for each in proof.removed] == [(second, "older than 200 days")]
    machine.drive(0, "13900000001", 30, 5)
    machine.consume()
    machine.seal()
    assert prove(machine.directory).holds
    assert len(machine.found("13900000001")) == 25
    assert remove_day(machine.directory, second, why="again", now=later(200)) == 0
    assert len(prove(machine.directory).removed) == 1


def test_what_was_deleted_while_the_archive_was_off_is_a_gap(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.drive(0, "13900000001", 0, 5)
    machine.consume()
    machine.seal()
    machine.drive(0, "13900000001", 5, 300)
    machine.consume()
    machine.writers[0]._marks = ("consumed",)
    assert machine.writers[0].trim() > 1
    machine.seal()
    proof = prove(machine.directory)
    assert proof.holds and len(proof.gaps) == 1
    machine.close()


def test_the_archive_goes_on_when_its_chunks_are_lost(machine: Machine) -> None:
    machine.drive(0, "13900000001", 0, 20)
    machine.consume()
    machine.seal()
    for path in machine.directory.glob("*/*.nwa"):
        path.unlink()
    machine.archivist = machine.started()
    machine.drive(0, "13900000001", 20, 5)
    machine.consume()
    machine.seal()
    assert len(machine.found("13900000001")) == 5
    broken = prove(machine.directory).broken
    assert broken is not None and broken.chunk == 1 and broken.what == "the chunk is missing"


def test_only_one_writes(machine: Machine) -> None:
    with _locked(machine.directory), pytest.raises(ArchiveInUse, match="another process"):
        machine.archivist.step(machine.now_us)


KILLING = ("fsync", "rename", "ftruncate", "pwrite", "unlink")
"""What sealing asks of the system that changes something: it is killed before each."""


@pytest.mark.parametrize("nth", range(1, 25))
def test_killed_at_any_step_nothing_is_lost_or_doubled(machine: Machine, nth: int) -> None:
    for turn in range(3):
        machine.drive(turn % 2, TERMINALS[turn], 0, 10)
    machine.consume()
    child = os.fork()
    if not child:
        _seal_and_die(machine, nth)
    os.waitpid(child, 0)
    machine.archivist = machine.started()
    machine.seal()
    assert plain(machine.archived()) == plain(machine.kept)
    assert machine.found(TERMINALS[0]) == machine.found(TERMINALS[0])
    proof = prove(machine.directory, logs=machine.logs)
    assert proof.holds, proof.broken
    positions = [LogReader(machine.logs / str(slot)).archived() for slot in range(2)]
    assert positions == [LogReader(machine.logs / str(slot)).consumed() for slot in range(2)]


def _seal_and_die(machine: Machine, nth: int) -> None:
    left = nth

    def dying(name: str):  # type: ignore[no-untyped-def]
        real = getattr(os, name)

        def call(*arguments, **named):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if not left:
                os._exit(9)
            return real(*arguments, **named)

        return call

    try:
        for name in KILLING:
            setattr(os, name, dying(name))
        machine.seal()
    finally:
        os._exit(0)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """An archive of two days and some chunks, to be bent in copies."""
    machine = Machine(tmp_path_factory.mktemp("sealed"), slots=2)
    for turn in range(4):
        for slot, identity in enumerate(TERMINALS[:3]):
            machine.drive(slot % 2, identity, 10 * turn, 5)
        machine.say(0, Rejected(0, "bad_checksum", b"\x7e\x01\x7e"))
        machine.now_us += DAY_US // 2
    machine.consume()
    machine.seal()
    machine.close()
    assert prove(machine.directory, logs=machine.logs).holds
    return machine


def test_any_bit_that_changes_is_found_and_named(sealed: Machine) -> None:
    chance = random.Random(5)
    paths = [path for path in sealed.directory.rglob("*") if path.suffix == ".nwa" or path.name == "heads"]
    assert len(paths) > 3
    for path in paths:
        content = path.read_bytes()
        ends = [0, 7, 8, len(content) - 1, len(content) - 9, len(content) - 57]
        for at in {*ends, *(chance.randrange(len(content)) for _ in range(150))}:
            bent = bytearray(content)
            bent[at] ^= 1 << chance.randrange(8)
            path.write_bytes(bent)
            broken = prove(sealed.directory).broken
            assert broken is not None, f"byte {at} of {path}"
            if path.name != "heads":
                assert broken.where == str(path.relative_to(sealed.directory))
        path.write_bytes(content)
    assert prove(sealed.directory).holds


def test_a_changed_block_names_its_terminal(sealed: Machine) -> None:
    path = sorted(sealed.directory.rglob("*.nwa"))[1]
    chunk = Chunk(path)
    content = path.read_bytes()
    at = chunk.find(TERMINALS[1]) or chunk.find(TERMINALS[0])
    assert at is not None
    offset = int(chunk.entries["offset"][at])
    bent = bytearray(content)
    bent[offset + 10] ^= 4
    path.write_bytes(bent)
    broken = prove(sealed.directory).broken
    assert broken is not None
    assert (broken.terminal, broken.block, broken.offset) == (chunk.identity(at), at, offset)
    assert prove(sealed.directory, identity="ABCDEF").holds is (chunk.identity(at) != "ABCDEF")
    path.write_bytes(content)


def test_a_missing_or_moved_chunk_is_found(sealed: Machine) -> None:
    paths = sorted(sealed.directory.rglob("*.nwa"))
    for path in paths:
        content = path.read_bytes()
        path.unlink()
        broken = prove(sealed.directory).broken
        assert broken is not None and broken.chunk == int(path.stem)
        path.write_bytes(content)
    extra = paths[0].with_name("00000099.nwa")
    extra.write_bytes(paths[0].read_bytes())
    broken = prove(sealed.directory).broken
    assert broken is not None and broken.chunk == 99
    extra.unlink()
    one, other = paths[0].read_bytes(), paths[1].read_bytes()
    paths[0].write_bytes(other)
    paths[1].write_bytes(one)
    assert not prove(sealed.directory).holds
    paths[0].write_bytes(one)
    paths[1].write_bytes(other)


@pytest.mark.parametrize("name", ["heads", "*.nwa"])
def test_a_pipe_that_nobody_writes_to_is_named(sealed: Machine, name: str) -> None:
    *_, path = sorted(sealed.directory.rglob(name))
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    for logs in (None, sealed.logs):
        broken = prove(sealed.directory, logs=logs).broken
        assert broken is not None and (broken.where, broken.what) == (
            str(path.relative_to(sealed.directory)),
            "it cannot be read: no regular file",
        )
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("said_bytes", [1000, 1 << 30])
def test_a_block_is_unpacked_to_the_size_in_the_index_and_no_further(
    sealed: Machine, monkeypatch: pytest.MonkeyPatch, said_bytes: int
) -> None:
    path = sorted(sealed.directory.rglob("*.nwa"))[0]
    content = path.read_bytes()
    bomb = zstandard.compress(bytes(1 << 26))
    assert len(bomb) < 1 << 13
    _forge(path, bomb, said_bytes)
    monkeypatch.setattr(zstandard, "decompress", _not_for_this)
    with pytest.raises(ChunkDamaged, match=r"another size|promises more"):
        Chunk(path).rows(1)
    with pytest.raises(ChunkDamaged, match=r"another size|promises more"):
        list(Chunk(path).log())
    path.write_bytes(content)


def _not_for_this(block: memoryview, max_output_size: int) -> bytes:
    content = zstandard.ZstdDecompressor().decompress(block, max_output_size=max_output_size)
    assert len(content) < 1 << 20
    return content


def _forge(path: Path, block: bytes, said_bytes: int) -> None:
    """Give a chunk another second block, and hashes that fit."""
    held = Chunk(path)
    entries = held.entries.copy()
    blocks = [bytes(held.block(at)) for at in range(len(entries))]
    blocks[1] = block
    entries["size"][1] = said_bytes
    entries["length"] = [len(each) for each in blocks]
    entries["offset"] = len(MAGIC) + entries["length"].cumsum() - entries["length"]
    about = msgspec.json.encode(held.about)
    offset = len(MAGIC) + sum(map(len, blocks))
    index = entries.tobytes()
    trailer = TRAILER.pack(offset, offset + len(index), chunk_root(index, about), MAGIC)
    path.write_bytes(b"".join([MAGIC, *blocks, index, about, trailer]))


def test_heads_cannot_be_bent(sealed: Machine) -> None:
    path = sealed.directory / heads.FILE_NAME
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    for at in range(len(lines)):
        for bent in (
            lines[:at] + lines[at + 1 :],
            [*lines[:at], *reversed(lines[at : at + 2]), *lines[at + 2 :]],
            [*lines[:at], lines[at].replace(b'"frames":', b'"frames":1'), *lines[at + 1 :]],
        ):
            if bent == lines:
                continue
            path.write_bytes(b"".join(bent))
            assert not prove(sealed.directory, logs=sealed.logs).holds
    path.write_bytes(content)
    assert prove(sealed.directory, copied=content.splitlines()[:2]).holds
    broken = prove(sealed.directory, copied=[*content.splitlines(), b"{}"]).broken
    assert broken is not None and broken.line == len(lines) + 1
    broken = prove(sealed.directory, copied=content.splitlines()[1:]).broken
    assert broken is not None and broken.line == 1


def test_an_end_that_is_gone_is_missed_by_the_log(sealed: Machine) -> None:
    path = sealed.directory / heads.FILE_NAME
    content = path.read_bytes()
    last = sorted(sealed.directory.rglob("*.nwa"))[-1]
    chunk = last.read_bytes()
    last.unlink()
    path.write_bytes(b"".join(content.splitlines(keepends=True)[:-1]))
    assert prove(sealed.directory).holds  # nothing in the archive itself can tell
    broken = prove(sealed.directory, logs=sealed.logs).broken
    assert broken is not None and "missing" in broken.what
    assert not prove(sealed.directory, copied=content.splitlines()).holds
    last.write_bytes(chunk)
    path.write_bytes(content)


def test_identities_are_those_of_the_headers() -> None:
    import numpy as np

    wide = "12345678901234567890"
    late = bytes.fromhex("0200 4000 01".replace(" ", "")) + bytes.fromhex(wide) + b"\0\1" + b"\0"
    contents = [frame("13900000001", 1), late, frame("ABCDEF", 1), b"\x02\x00\x00\x05", frame("0", 1), late]
    lengths = [len(each) for each in contents]
    data = np.frombuffer(b"".join(contents), np.uint8)
    names, which = identities(data, lengths, np.zeros(len(contents), np.bool_))
    assert [names[each] for each in which] == ["13900000001", wide, "ABCDEF", "", "0", wide]


def test_the_archivist_says_what_it_is(tmp_path: Path) -> None:
    assert repr(Archivist(tmp_path / "archive", tmp_path / "log", identities)).startswith("<Archivist")
    assert Archivist(tmp_path / "archive", tmp_path / "log", identities).step(0) is None
