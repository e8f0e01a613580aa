"""Damage in a log: exactly that is left out, on a person's word, and no terminal can feign a record."""

import os
import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import damage
from store.damage import DIRECTORY, find, keep, pass_by, see, unseen
from store.log import (
    RECORD_HEAD,
    LogCorrupt,
    LogLimits,
    LogReader,
    LogRecord,
    LogWriter,
    record_size,
)
from store.merge import MergedReader
from store.records import Frames, RecordKind, Rejected, Tick
from tests.store.test_log import SMALL, die, read_all, rejected

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CHECKED = struct.Struct("<QIBq")


def bend(directory: Path, position: int, data: bytes = b"\xff" * 4) -> None:
    """Write over what stands at a position."""
    bases = sorted(int(path.stem) for path in directory.glob("*.seg"))
    base = max(each for each in bases if each <= position)
    with (directory / f"{base:020d}.seg").open("r+b") as file:
        file.seek(position - base)
        file.write(data)


def skip_all(directory: Path, logs: Path | None = None) -> list[damage.Damage]:
    """Pass all damage, as a person would."""
    reader = LogReader(directory)
    found = []
    while (each := find(reader, is_archived=False)) is not None:
        kept = keep(logs or directory, each)
        assert kept.read_bytes() == each.data
        pass_by(reader, each, kept, by="anna", at=NOW)
        found.append(each)
    return found


@settings(max_examples=30)
@given(st.data())
def test_only_damaged_records_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("log")
    sizes = data.draw(st.lists(st.integers(0, 700), min_size=2, max_size=25))
    writer = LogWriter(directory, limits=SMALL)
    for number, size in enumerate(sizes):
        writer.append(rejected(number, size), number)
    writer.sync()
    if data.draw(st.booleans()):
        die(writer)
        writer = LogWriter(directory, limits=SMALL)
        writer.append(rejected(len(sizes), 10), len(sizes))
        writer.sync()
    reader = LogReader(directory)
    records: list[LogRecord] = []
    while more := reader.read(records[-1].next_position if records else reader.start):
        records += more
    hit = data.draw(st.lists(st.sampled_from(range(len(records))), min_size=1, max_size=4, unique=True))
    for number in hit:
        record = records[number]
        held = RECORD_HEAD.size + len(record.payload)
        at = data.draw(st.integers(0, held - 1))
        wide = data.draw(st.sampled_from([1, 8, 64]))
        bend(directory, record.position + at, bytes(0xFF ^ each for each in _at(directory, record, at, wide)))
    passed = skip_all(directory)
    end = writer.append(rejected(99), 0)
    writer.sync()
    numbers, position = read_all(LogReader(directory))
    assert position == end and numbers.pop() == 99
    whole = set(range(len(records))) - set(hit)
    assert set(numbers) >= {each for each in whole if not _is_within(records[each], passed)}
    assert set(numbers).isdisjoint(hit) and numbers == sorted(numbers)
    lost = sum(each.end - each.begin for each in passed)
    assert lost <= sum(record_size(len(records[each].payload)) for each in hit) + 64 * len(hit) + 700 * len(
        hit
    )
    writer.close()


def _at(directory: Path, record: LogRecord, at: int, wide: int) -> bytes:
    """Give what stands in a record, but nothing behind it."""
    held = RECORD_HEAD.size + len(record.payload)
    base = max(int(p.stem) for p in directory.glob("*.seg") if int(p.stem) <= record.position)
    content = (directory / f"{base:020d}.seg").read_bytes()
    begin = record.position - base + at
    return content[begin : begin + min(wide, held - at)]


def _is_within(record: LogRecord, passed: list[damage.Damage]) -> bool:
    return any(each.begin <= record.position < each.end for each in passed)


def feigned(position: int, payload: bytes, salt: int = 0) -> bytes:
    """Give what a terminal that knows everything but the salt would send to look like a record of frames."""
    kind, received_at_us = int(RecordKind.FRAMES), 5
    crc = zlib.crc32(payload, zlib.crc32(CHECKED.pack(position, len(payload), kind, received_at_us), salt))
    return RECORD_HEAD.pack(len(payload), crc, kind, received_at_us) + payload


@pytest.mark.parametrize("knows_the_salt", [False, True])
def test_what_a_terminal_sends_is_never_taken_for_a_record(tmp_path: Path, knows_the_salt: bool) -> None:
    writer = LogWriter(tmp_path)
    first = writer.append(rejected(1), 0)
    # The frame of an attacker is the last one of its record, and ends with a whole record that others follow.
    forged = Frames(np.array([7], "<u8"), np.array([8], "<u2"), np.array([1], "<u2"), np.zeros(8, np.uint8))
    size = len(feigned(0, forged.payload()))
    inside = first + RECORD_HEAD.size + 16 + 88
    salt = writer._salt if knows_the_salt else 0
    said = bytes(88) + feigned(inside, forged.payload(), salt)
    assert (inside + size) % 8 == 0
    real = Frames(
        np.array([9], "<u8"),
        np.array([len(said)], "<u2"),
        np.array([0], "<u2"),
        np.frombuffer(said, np.uint8),
    )
    end = writer.append(real, 0)
    assert end == inside + size, "the feigned record ends where the real one does"
    writer.append(rejected(2), 0)
    writer.sync()
    bend(tmp_path, first)  # its length is gone, so nobody knows where it ends
    (found,) = skip_all(tmp_path)
    assert (found.begin, found.end) == (first, inside if knows_the_salt else end)
    writer.close()


def test_a_segment_of_feigned_heads_costs_no_more_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.log.SEARCHED_BYTES", 1 << 20)
    writer = LogWriter(tmp_path, limits=LogLimits(1 << 30, 0, 1 << 20))
    first = writer.append(rejected(1), 0)
    head = RECORD_HEAD.pack(1 << 18, 0, int(RecordKind.FRAMES), 5)
    writer.append(Rejected(2, "x", head * ((1 << 19) // len(head))), 0)
    writer.append(rejected(3), 0)
    end = writer.sync()
    bend(tmp_path, first + RECORD_HEAD.size)
    summed = 0
    real = zlib.crc32

    def count(data: bytes, value: int = 0) -> int:
        nonlocal summed
        summed += len(data)
        return real(data, value)

    monkeypatch.setattr("store.log.zlib.crc32", count)
    reader = LogReader(tmp_path)
    assert reader.behind_damage(first)[0] in (end, end - record_size(len(b"")) - 16)
    assert summed < 4 << 20
    writer.close()


def test_a_version_without_salt_goes_on_at_the_next_segment(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, limits=SMALL)
    writer._salt = 0
    ends = [writer.append(rejected(number, 100), number) for number in range(40)]
    writer.sync()
    bend(tmp_path, ends[2] + 30)
    (found,) = skip_all(tmp_path)
    numbers, _ = read_all(LogReader(tmp_path))
    assert numbers[:3] == [0, 1, 2] and numbers[3:] == list(range(numbers[3], 40)) and numbers[3] > 4
    assert found.end % 2048 == (ends[numbers[3] - 1]) % 2048
    writer.close()


@pytest.mark.parametrize("which", [0, 1, -2, -1])
@pytest.mark.parametrize("at", [0, 10, 24, 40, 52])
def test_a_damaged_head_of_a_segment_loses_nothing(tmp_path: Path, which: int, at: int) -> None:
    for first in (0, 30):  # two lives: the salts differ
        writer = LogWriter(tmp_path, limits=SMALL)
        for number in range(first, first + 30):
            writer.append(rejected(number, 100), number)
            writer.sync()
        writer.close()
    path = sorted(tmp_path.glob("*.seg"))[which]
    whole = path.read_bytes()
    bend(tmp_path, int(path.stem) + at)
    with pytest.raises(LogCorrupt):
        read_all(LogReader(tmp_path))
    (found,) = skip_all(tmp_path)
    assert (found.begin, found.end, found.head) == (int(path.stem), int(path.stem) + 64, whole[:64])
    assert read_all(LogReader(tmp_path))[0] == list(range(60))
    again = LogWriter(tmp_path, limits=SMALL)
    again.append(rejected(60), 60)
    again.sync()
    reader = LogReader(tmp_path)
    numbers, position = read_all(reader)
    assert numbers == list(range(61))
    reader.release(position)
    assert again.trim()
    again.close()


@pytest.mark.parametrize("left", [0, 10, 200])
def test_a_log_that_was_cut_short_is_passed_and_written_on(tmp_path: Path, left: int) -> None:
    writer = LogWriter(tmp_path)
    first = writer.append(rejected(1, 400), 0)
    end = writer.append(rejected(2, 400), 0)
    writer.close()
    os.truncate(next(tmp_path.glob("*.seg")), first + left)
    with pytest.raises(LogCorrupt):
        LogWriter(tmp_path)
    (found,) = skip_all(tmp_path)
    assert (found.begin, found.end, len(found.data)) == (first, end, left)
    again = LogWriter(tmp_path)
    again.append(rejected(3), 0)
    again.sync()
    assert read_all(LogReader(tmp_path))[0] == [1, 3]
    again.close()
    assert read_all(LogReader(tmp_path))[0] == [1, 3]


def test_what_was_passed_is_told_until_somebody_has_seen_it(tmp_path: Path) -> None:
    logs = tmp_path / "log"
    writer = LogWriter(logs / "0")
    first = writer.append(rejected(1), 0)
    writer.append(rejected(2, 50), 0)
    writer.append(rejected(3), 0)
    writer.sync()
    bend(logs / "0", first + 40)
    reader = MergedReader(logs)
    assert len(reader.read({})) == 1
    with pytest.raises(LogCorrupt):
        reader.read({writer.log_id: first})
    skip_all(logs / "0", logs)
    (record,) = reader.read({writer.log_id: first})
    assert record.position > first
    ((slot, told),) = unseen(logs)
    assert (slot, told.begin, told.by, told.at) == (0, first, "anna", NOW)
    assert (logs / DIRECTORY / told.kept).stat().st_size == told.end - told.begin
    assert see(logs, "berta") == 1 and see(logs, "carl") == 0
    assert list(unseen(logs)) == []
    writer.append(Tick(), 0)
    writer.sync()
    assert len(MergedReader(logs).read({writer.log_id: first})) == 2
    writer.close()
