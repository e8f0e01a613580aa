"""The log keeps what it promised, whatever the disk and the power do."""

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from store.log import (
    MARK,
    RESERVED_SEGMENTS,
    CursorAhead,
    CursorBehind,
    LogClosed,
    LogCorrupt,
    LogError,
    LogFailed,
    LogFull,
    LogInUse,
    LogLimits,
    LogReader,
    LogWriter,
    UnknownRecord,
    WrongLog,
)
from store.records import Frames, RecordKind, Rejected, Started, Tick, decode
from tests.disks import FaultyDisk

SMALL = LogLimits(quota_bytes=1 << 30, free_floor_bytes=0, segment_bytes=2048)


def rejected(number: int, size: int = 0) -> Rejected:
    return Rejected(number, "test", bytes(size))


def read_all(reader: LogReader, position: int | None = None, max_bytes: int = 512) -> tuple[list[int], int]:
    """Read to the end: the numbers of the records, and the position behind the last."""
    position = reader.start if position is None else position
    numbers = []
    while records := reader.read(position, max_bytes):
        for record in records:
            assert record.position >= position
            position = record.next_position
            event = decode(record.kind, record.payload)
            assert isinstance(event, Rejected)
            numbers.append(event.session)
    return numbers, position


def die(writer: LogWriter) -> None:
    """End as kill -9 does: nothing is finished, the kernel drops the lock."""
    writer._lock_file.close()


def test_what_is_synced_is_read_in_order_with_its_time(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    frames = Frames(
        np.array([7, 8], "<u8"),
        np.array([3, 2], "<u2"),
        np.array([1, 0], "<u2"),
        np.arange(5, dtype=np.uint8),
    )
    writer.append(Started("1"), 10)
    writer.append(frames, 11)
    behind = writer.append(Tick(2), 12)
    reader = LogReader(tmp_path)
    assert reader.read(reader.start) == [], "nothing is readable before the sync"
    assert writer.sync() == behind == writer.durable == reader.head()
    records = reader.read(reader.start)
    assert [record.kind for record in records] == [RecordKind.STARTED, RecordKind.FRAMES, RecordKind.TICK]
    assert [record.received_at_us for record in records] == [10, 11, 12]
    again = decode(records[1].kind, records[1].payload)
    assert isinstance(again, Frames)
    assert again.sessions.tolist() == [7, 8] and bytes(again.data) == bytes(range(5))
    assert records[-1].next_position == behind
    assert reader.read(behind) == []


def test_segments_follow_each_other_without_a_gap_for_the_reader(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, limits=SMALL)
    for number in range(100):
        writer.append(rejected(number, 100), number)
        if number % 7 == 0:
            writer.sync()
    writer.sync()
    assert len(list(tmp_path.glob("*.seg"))) > 5
    assert read_all(LogReader(tmp_path))[0] == list(range(100))


def test_what_is_unread_is_told_without_gaps(tmp_path: Path) -> None:
    """Positions are compared, never subtracted: a segment that was given up leaves a gap."""
    disk = FaultyDisk()
    writer = LogWriter(tmp_path, limits=SMALL, storage=disk)
    reader = LogReader(tmp_path)
    assert reader.unread(0) == 0
    for number in range(60):
        writer.append(rejected(number, 100), number)
        disk.fails = lambda action, is_bad=number % 10 == 9: is_bad and action == "sync"
        if number % 10 == 9:
            with pytest.raises(LogFailed):
                writer.sync()
            disk.fails = lambda action: False
        writer.sync()
    records, position = [], reader.start
    while found := reader.read(position):
        records += found
        position = found[-1].next_position
    assert position == writer.durable and len(records) == 60
    left = sum(each.next_position - each.position for each in records)
    assert left < position - reader.start, "there are gaps"
    for each in records:
        assert reader.unread(each.position) == LogReader(tmp_path).unread(each.position) == left
        left -= each.next_position - each.position
    assert reader.unread(position) == 0


def test_one_sync_may_fill_several_segments(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, limits=SMALL)
    behind = [writer.append(rejected(number, 500), number) for number in range(20)][-1]
    assert writer.sync() == behind
    assert read_all(LogReader(tmp_path)) == (list(range(20)), behind)


def test_a_record_longer_than_the_asked_bytes_is_read_whole(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append(rejected(1, 5000), 0)
    writer.sync()
    assert read_all(LogReader(tmp_path), max_bytes=64)[0] == [1]


def test_a_record_that_fits_no_segment_is_refused(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, limits=SMALL)
    with pytest.raises(ValueError, match="fits no segment of 2048"):
        writer.append(rejected(1, 3000), 0)


def test_reopening_goes_on_behind_everything_written(tmp_path: Path) -> None:
    first = LogWriter(tmp_path, limits=SMALL)
    first.append(rejected(1), 0)
    first.close()
    second = LogWriter(tmp_path, limits=SMALL)
    assert second.log_id == first.log_id and second.durable == first.durable
    second.append(rejected(2), 0)
    second.close()
    assert read_all(LogReader(tmp_path))[0] == [1, 2]


def test_what_a_killed_writer_wrote_but_did_not_announce_is_taken_over(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append(rejected(1), 0)
    announced = writer.sync()
    writer.append(rejected(2), 0)
    writer.sync()
    writer._mark.write((announced).to_bytes(8, "little") + (~announced % 2**64).to_bytes(8, "little"), 0)
    die(writer)
    assert read_all(LogReader(tmp_path))[0] == [1]
    LogWriter(tmp_path)
    assert read_all(LogReader(tmp_path))[0] == [1, 2]


def test_a_torn_tail_is_dropped(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append(rejected(1), 0)
    durable = writer.sync()
    die(writer)
    segment = next(tmp_path.glob("*.seg"))
    with segment.open("r+b") as file:
        file.seek(durable)
        file.write(b"\x20\0\0\0half a record")
    again = LogWriter(tmp_path)
    assert again.durable == durable
    again.append(rejected(2), 0)
    again.sync()
    assert read_all(LogReader(tmp_path))[0] == [1, 2]


def test_a_damaged_record_is_named_and_never_skipped(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    ends = [writer.append(rejected(number, 50), 0) for number in range(5)]
    writer.sync()
    segment = next(tmp_path.glob("*.seg"))
    with segment.open("r+b") as file:
        file.seek(ends[2] + 60)
        file.write(b"\xff")
    reader = LogReader(tmp_path)
    records = reader.read(reader.start)
    assert [record.next_position for record in records] == ends[:3]
    with pytest.raises(LogCorrupt, match=f"position {ends[2]} in") as caught:
        reader.read(ends[2])
    assert caught.value.position == ends[2]


@pytest.mark.parametrize("left", [0, 10])
def test_a_segment_cut_short_is_damage_to_the_reader(tmp_path: Path, left: int) -> None:
    writer = LogWriter(tmp_path)
    first = writer.append(rejected(1, 400), 0)
    writer.append(rejected(2, 400), 0)
    writer.sync()
    os.truncate(next(tmp_path.glob("*.seg")), first + left)
    with pytest.raises(LogCorrupt, match="durable records are missing"):
        LogReader(tmp_path).read(first)


def test_missing_durable_records_stop_the_writer(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append(rejected(1, 400), 0)
    writer.close()
    segment = next(tmp_path.glob("*.seg"))
    os.truncate(segment, 100)
    with pytest.raises(LogCorrupt, match="durable records are missing"):
        LogWriter(tmp_path)
    segment.unlink()
    with pytest.raises(LogCorrupt, match="none is left"):
        LogWriter(tmp_path)


def test_a_cursor_that_the_log_cannot_serve_is_an_error(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, limits=SMALL)
    for number in range(40):
        writer.append(rejected(number, 100), 0)
    durable = writer.sync()
    reader = LogReader(tmp_path)
    begin = reader.start
    with pytest.raises(CursorAhead, match="ends at"):
        reader.read(durable + 8)
    reader.release(durable)
    assert writer.trim() > 0
    with pytest.raises(CursorBehind, match="now begins at"):
        reader.read(begin)
    with pytest.raises(CursorBehind):
        LogReader(tmp_path).read(begin)
    assert read_all(LogReader(tmp_path))[0][-1] == 39


def test_a_cursor_at_the_end_of_a_deleted_segment_has_lost_nothing(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, limits=SMALL)
    writer.append(rejected(1), 0)
    end = writer.sync()
    die(writer)
    writer = LogWriter(tmp_path, limits=SMALL)
    LogReader(tmp_path).release(end)
    writer.append(rejected(2), 0)
    writer.sync()
    assert writer.trim() == 1
    assert read_all(LogReader(tmp_path), end)[0] == [2]


def test_only_consumed_segments_are_deleted(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, limits=SMALL)
    for number in range(40):
        writer.append(rejected(number, 100), 0)
    writer.sync()
    assert writer.trim() == 0
    reader = LogReader(tmp_path)
    half = [record for _ in range(2) for record in reader.read(reader.start, 1500)][-1].next_position
    reader.release(half)
    writer.trim()
    numbers = read_all(LogReader(tmp_path), half)[0]
    assert numbers == list(range(40 - len(numbers), 40))


def test_a_log_has_one_writer(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    with pytest.raises(LogInUse):
        LogWriter(tmp_path)
    writer.close()
    LogWriter(tmp_path)


def test_a_closed_writer_writes_no_more(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, limits=SMALL)
    writer.append(rejected(1), 0)
    writer.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    writer.append(rejected(2), 0)
    with pytest.raises(LogClosed):
        writer.sync()
    with pytest.raises(LogClosed):
        writer.trim()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    LogWriter(tmp_path, limits=SMALL).close()
    assert read_all(LogReader(tmp_path))[0] == [1]


def test_the_only_segment_is_kept_though_nothing_in_it_is_durable(tmp_path: Path) -> None:
    disk = FaultyDisk()
    writer = LogWriter(tmp_path, limits=SMALL, storage=disk)
    writer.append(rejected(1, 1900), 0)
    end = writer.sync()
    LogReader(tmp_path).release(end)

    def fails(action: str) -> bool:
        writer.trim()
        return action == "sync"

    disk.fails = fails
    for _ in range(3):
        writer.append(rejected(2, 1900), 0)
        with pytest.raises(LogFailed):
            writer.sync()
    assert len(list(tmp_path.glob("*.seg"))) == 1
    die(writer)
    disk.fails = lambda action: False
    writer = LogWriter(tmp_path, limits=SMALL, storage=disk)
    writer.append(rejected(3), 0)
    writer.sync()
    numbers, _ = read_all(LogReader(tmp_path), end)
    assert numbers[-1] == 3 and set(numbers[:-1]) <= {2}


def test_another_log_is_not_read(tmp_path: Path) -> None:
    one, other = LogWriter(tmp_path / "one"), LogWriter(tmp_path / "other")
    for writer in (one, other):
        writer.append(rejected(1), 0)
        writer.sync()
        writer.close()
    with pytest.raises(WrongLog, match=str(one.log_id)):
        LogReader(tmp_path / "one", log_id=uuid4())
    for segment in (tmp_path / "other").glob("*.seg"):
        segment.replace(tmp_path / "one" / segment.name)
    with pytest.raises(WrongLog, match=str(other.log_id)):
        read_all(LogReader(tmp_path / "one"))
    with pytest.raises(WrongLog):
        LogWriter(tmp_path / "one")


def test_there_is_no_log_before_a_writer(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="start a gateway"):
        LogReader(tmp_path)


@pytest.mark.parametrize("action", ["write", "sync", "create"])
def test_after_a_fault_nothing_is_durable_and_nothing_is_lost(tmp_path: Path, action: str) -> None:
    disk = FaultyDisk()
    writer = LogWriter(tmp_path, limits=SMALL, storage=disk)
    writer.append(rejected(1), 0)
    if action != "create":
        writer.sync()
    durable = writer.durable
    disk.fails = lambda what: what == action
    writer.append(rejected(2), 0)
    with pytest.raises(LogFailed, match="the test says so"):
        writer.sync()
    assert writer.durable == durable and "test says so" in writer.state().fault
    writer.append(rejected(3), 0)
    disk.fails = lambda what: False
    writer.sync()
    assert writer.state().fault == ""
    assert read_all(LogReader(tmp_path))[0] == [1, 2, 3]


def test_a_segment_is_never_written_again_after_a_fault(tmp_path: Path) -> None:
    disk = FaultyDisk()
    writer = LogWriter(tmp_path, storage=disk)
    writer.append(rejected(1), 0)
    writer.sync()
    disk.fails = lambda what: what == "sync"
    writer.append(rejected(2), 0)
    with pytest.raises(LogFailed):
        writer.sync()
    broken = next(tmp_path.glob("*.seg"))
    content = broken.read_bytes()
    disk.fails = lambda what: False
    writer.append(rejected(3), 0)
    writer.close()
    assert content.startswith(broken.read_bytes())
    assert read_all(LogReader(tmp_path))[0] == [1, 2, 3]


def test_a_disk_that_keeps_failing_does_not_fill_itself(tmp_path: Path) -> None:
    disk = FaultyDisk()
    writer = LogWriter(tmp_path, limits=SMALL, storage=disk)
    writer.append(rejected(1), 0)
    writer.sync()
    disk.fails = lambda what: what == "sync"
    writer.append(rejected(2), 0)
    for _ in range(100):
        with pytest.raises(LogFailed):
            writer.sync()
    assert writer.state().segments == len(list(tmp_path.glob("*.seg"))) == 1
    disk.fails = lambda what: False
    writer.sync()
    assert read_all(LogReader(tmp_path))[0] == [1, 2]


def test_the_log_says_how_long_it_can_hold(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, limits=LogLimits(1 << 20, free_floor_bytes=0, segment_bytes=1 << 16))
    assert writer.state().holds_s is None
    for second in range(31):
        writer.append(rejected(second, 1000), second * 1_000_000)
        writer.sync()
    state = writer.state()
    room = state.quota_bytes - state.used_bytes - RESERVED_SEGMENTS * (1 << 16)
    assert state.holds_s is not None and room / 1100 < state.holds_s < room / 1000


@pytest.mark.parametrize("limit", ["quota", "floor"])
def test_a_full_log_takes_nothing_until_there_is_room(tmp_path: Path, limit: str) -> None:
    disk = FaultyDisk()
    quota = 3 * 2048 if limit == "quota" else 1 << 30
    writer = LogWriter(
        tmp_path,
        limits=LogLimits(quota_bytes=quota, free_floor_bytes=1 << 20, segment_bytes=2048),
        storage=disk,
    )
    number = 0
    with pytest.raises(LogFull, match="exceed 6144" if limit == "quota" else "must stay"):
        while True:
            disk.free = (1 << 20) + 2048 * (2 if number < 30 else 0)
            writer.append(rejected(number, 100), 0)
            number += 1
            writer.sync()
    with pytest.raises(LogFull):
        writer.sync()
    assert writer.state().is_full
    reader = LogReader(tmp_path)
    numbers, position = read_all(reader)
    assert numbers == list(range(number - 1))
    reader.release(position)
    disk.free = 1 << 30
    writer.trim()
    writer.sync()
    assert read_all(LogReader(tmp_path), position)[0] == [number - 1]


@pytest.mark.parametrize("limit", ["quota", "floor"])
def test_a_reserve_is_left_and_survives_new_writers(
    tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, most = FaultyDisk(), 8 * 2048
    quota = most if limit == "quota" else 1 << 30
    limits = LogLimits(quota_bytes=quota, free_floor_bytes=1 << 20, segment_bytes=2048)

    def free(_directory: Path) -> int:
        return (1 << 20) + most - sum(path.stat().st_size for path in tmp_path.glob("*.seg"))

    monkeypatch.setattr(disk, "free_bytes", free)
    writer = LogWriter(tmp_path, limits=limits, storage=disk)
    number = 0
    while not writer.shortage:
        writer.append(rejected(number, 100), number)
        writer.sync()
        number += 1
    assert ("would exceed" if limit == "quota" else "must stay") in writer.shortage
    assert writer.state().is_full
    for _ in range(3):  # ticks go on, also in writers that find the log full
        for second in range(10):
            writer.append(Tick(), number + second)
            writer.sync()
            writer.trim()
        assert writer.shortage
        writer.close()
        writer = LogWriter(tmp_path, limits=limits, storage=disk)
    reader = LogReader(tmp_path)
    position, kinds = reader.start, list[RecordKind]()
    while records := reader.read(position):
        kinds += [record.kind for record in records]
        position = records[-1].next_position
    assert kinds == [RecordKind.REJECTED] * number + [RecordKind.TICK] * 30
    reader.release(position)
    writer.append(Tick(), number)
    writer.sync()
    writer.trim()
    writer.append(Tick(), number)
    writer.sync()
    writer.trim()
    assert not writer.shortage and not writer.state().is_full


def test_a_shortage_that_comes_while_trimming_stays(tmp_path: Path) -> None:
    """One thread trims while another syncs; what the sync says of the room is not taken back."""

    class Writer(LogWriter):
        between: Callable[[], object] = staticmethod(lambda: None)
        said = ""

        @property
        def shortage(self) -> str:  # type: ignore[override]
            said, between = self.said, self.between
            self.between = lambda: None
            between()
            return said

        @shortage.setter
        def shortage(self, said: str) -> None:
            self.said = said

    limits = LogLimits(quota_bytes=8 * 2048, free_floor_bytes=0, segment_bytes=2048)
    writer = Writer(tmp_path, limits=limits)

    def fill() -> None:
        while not writer.said:
            writer.append(rejected(1, 1000), 0)
            writer.sync()

    writer.between = fill
    writer.trim()
    assert "would exceed" in writer.said and writer.state().is_full


def test_a_record_of_a_newer_version_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.log.encode", lambda record: (99, b"what is to come"))
    writer = LogWriter(tmp_path)
    position = writer.append(Tick(), 0)
    writer.append(Tick(), 0)
    writer.sync()
    writer._mark.write(MARK.pack(position, ~position % 2**64), 0)  # the last one was not announced
    die(writer)
    reader = LogReader(tmp_path)
    with pytest.raises(UnknownRecord, match="kind 99, which this version does not know: a newer one"):
        reader.read(reader.start)
    with pytest.raises(UnknownRecord):
        LogWriter(tmp_path)


def test_a_writer_that_starts_leaves_the_drafts_of_readers(tmp_path: Path) -> None:
    LogWriter(tmp_path).close()
    drafts = {tmp_path / "passed.new", tmp_path / "skipped.new"}
    for draft in [*drafts, tmp_path / "00000000000000000064.new"]:
        draft.write_bytes(b"half")
    LogWriter(tmp_path).close()
    assert set(tmp_path.glob("*.new")) == drafts


def test_the_directories_above_are_durable_before_anything_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    LogWriter(tmp_path / "data" / "log" / "0").close()
    above = [str(tmp_path), str(tmp_path / "data"), str(tmp_path / "data" / "log")]
    assert synced[:3] == above


def test_logs_without_salt_are_read_and_continued(tmp_path: Path) -> None:
    first = LogWriter(tmp_path, limits=SMALL)
    first._salt = 0
    for number in range(50):
        first.append(rejected(number, 100), number)
    first.close()
    assert {path.read_bytes()[7] for path in tmp_path.glob("*.seg")} == {1}
    second = LogWriter(tmp_path, limits=SMALL)
    second.append(rejected(50), 50)
    second.close()
    assert read_all(LogReader(tmp_path))[0] == list(range(51))


class LogStory(RuleBasedStateMachine):
    """Random lives of a log, with a reader whose cursor survives what the writer does not."""

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        from tempfile import TemporaryDirectory

        self.folder = TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.disk = FaultyDisk(seed)
        self.durable: list[int] = []
        self.waiting: list[int] = []
        self.next_number = 0
        self.read: list[int] = []
        self.open()
        self.cursor = self.writer.start

    def open(self) -> None:
        self.writer = LogWriter(self.directory, limits=SMALL, storage=self.disk)
        self.reader = LogReader(self.directory)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            die(self.writer)
            self.folder.cleanup()

    @rule(sizes=st.lists(st.integers(0, 1500), min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        for size in sizes:
            self.writer.append(rejected(self.next_number, size), 0)
            self.waiting.append(self.next_number)
            self.next_number += 1

    @rule()
    def sync(self) -> None:
        behind = self.writer.durable
        assert self.writer.sync() >= behind
        self.durable += self.waiting
        self.waiting = []

    @precondition(lambda self: self.waiting)
    @rule(after=st.integers(0, 4))
    def fail(self, after: int) -> None:
        countdown = iter(range(after, -1, -1))
        self.disk.fails = lambda action: next(countdown, 0) == 0
        try:
            self.sync()
        except LogFailed:
            # Of a sync over several segments the first ones may have succeeded.
            self.find_more_durable()
        self.disk.fails = lambda action: False

    @rule()
    def close_and_open(self) -> None:
        self.writer.close()
        self.durable += self.waiting
        self.waiting = []
        self.open()

    @rule(power=st.booleans())
    def crash(self, power: bool) -> None:
        die(self.writer)
        if power:
            self.disk.lose_power()
        self.open()
        self.find_more_durable()
        self.waiting = []

    @rule(max_bytes=st.integers(32, 4096))
    def go_on_reading(self, max_bytes: int) -> None:
        for record in self.reader.read(self.cursor, max_bytes):
            assert record.position >= self.cursor, "positions only grow"
            self.cursor = record.next_position
            event = decode(record.kind, record.payload)
            assert isinstance(event, Rejected)
            self.read.append(event.session)

    @rule()
    def trim(self) -> None:
        self.reader.release(self.cursor)
        self.writer.trim()

    def find_more_durable(self) -> None:
        """What became durable beyond the promise must be in order and without holes."""
        readable = read_all(LogReader(self.directory))[0]
        more = [number for number in readable if number > max(self.durable, default=-1)]
        assert more == self.waiting[: len(more)]
        self.durable += more
        self.waiting = self.waiting[len(more) :]

    @invariant()
    def the_reader_has_a_prefix(self) -> None:
        if hasattr(self, "durable"):
            assert self.read == self.durable[: len(self.read)]

    @invariant()
    def everything_durable_is_there(self) -> None:
        if hasattr(self, "durable"):
            rest = read_all(LogReader(self.directory), self.cursor)[0]
            assert self.read + rest == self.durable


LogStory.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLogStory = LogStory.TestCase
