"""Several logs read as one."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from northwatch.gateways import retire
from store.log import MARK, LogLimits, LogReader, LogRecord, LogWriter
from store.merge import LOOK_S, PATIENCE_S, SLEW_US, MergedReader, Positions, behind, order
from store.records import Tick
from store.storage import Disk, DiskFile
from tests.store.test_log import die

SMALL = LogLimits(1 << 30, 0, 1 << 20)
ANNOUNCING = 3
"""The step of a sync after writing and syncing."""
TINY = LogLimits(1 << 30, 0, 256)
"""A segment holds some five records."""


class Wall:
    """A clock of patience that tests move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def logs(tmp_path: Path) -> list[LogWriter]:
    return [LogWriter(tmp_path / str(slot), limits=SMALL) for slot in range(2)]


def write(log: LogWriter, *times: int) -> None:
    for at_us in times:
        log.append(Tick(), at_us)
    log.sync()


def times(records: list[LogRecord]) -> list[tuple[int, int]]:
    return [(record.received_at_us, record.log.slot) for record in records]


def test_nothing_is_given_before_what_may_still_come(tmp_path: Path, logs: list[LogWriter]) -> None:
    clock = Wall()
    reader = MergedReader(tmp_path, clock=clock)
    write(logs[0], 1, 3, 5)
    write(logs[1], 2, 3, 4)
    records = reader.read({})
    assert times(records) == [(1, 0), (2, 1), (3, 0), (3, 1), (4, 1)]
    at: Positions = behind(records)
    assert reader.read(at) == []
    for _ in range(int(PATIENCE_S / LOOK_S)):
        assert reader.read(at) == []
        clock.now += LOOK_S
    assert times(reader.read(at)) == [(5, 0)], "a writer that is stopped holds nobody back for ever"
    at |= {logs[0].log_id: logs[0].durable}
    write(logs[0], 7)
    write(logs[1], 4, 8)
    assert times(reader.read(at)) == [(4, 1), (7, 0)], "what it says later comes later"
    for log in logs:
        log.close()
    calm = times(MergedReader(tmp_path).read({}))
    assert calm == [(1, 0), (2, 1), (3, 0), (3, 1), (4, 1), (5, 0), (4, 1), (7, 0), (8, 1)], "for everybody"


def test_a_writer_that_is_gone_holds_nobody_back(tmp_path: Path, logs: list[LogWriter]) -> None:
    write(logs[0], 1, 9)
    write(logs[1], 2)
    logs[1].close()
    assert times(MergedReader(tmp_path).read({})) == [(1, 0), (2, 1), (9, 0)]


def test_logs_wait_for_each_other_at_a_step_of_the_clock(tmp_path: Path, logs: list[LogWriter]) -> None:
    reader = MergedReader(tmp_path)
    high = 10 * SLEW_US
    write(logs[0], high + 10, 400, 402)
    write(logs[1], high + 9, high + 11, 401)
    first = reader.read({})
    second = reader.read(behind(first))
    assert times(first) == [(high + 9, 1), (high + 10, 0), (high + 11, 1)]
    assert times(second) == [(400, 0), (401, 1)]


def test_a_writer_that_starts_behind_its_predecessor_waits_for_nobody(
    tmp_path: Path, logs: list[LogWriter]
) -> None:
    """The clock was set back a little while it started."""
    write(logs[0], 900, 903, 906)
    write(logs[1], 901, 700, 702, 904)
    given = times(MergedReader(tmp_path).read({}))
    assert given == [(900, 0), (901, 1), (700, 1), (702, 1), (903, 0), (904, 1)]


def test_a_log_is_removed_only_when_all_of_it_is_read(tmp_path: Path, logs: list[LogWriter]) -> None:
    write(logs[1], 1, 2)
    logs[1].close()
    reader = MergedReader(tmp_path)
    write(logs[0], 1, 3)
    assert not retire(tmp_path / "1", is_archived=False)
    reader.release(reader.head())
    assert not retire(tmp_path / "1", is_archived=True), "the archive has none of it"
    assert retire(tmp_path / "1", is_archived=False)
    assert [name.slot for name in MergedReader(tmp_path).logs] == [0]


class Killed(BaseException):
    """The writer dies here."""


class Mortal(Disk):
    """A disk whose user dies at a step from now, or in the middle of writing."""

    left: int | None = None

    def create(self, path: Path, head: bytes, size: int) -> DiskFile:
        return self._watched(super().create(path, head, size))

    def open(self, path: Path) -> DiskFile:
        return self._watched(super().open(path))

    def _watched(self, file: DiskFile) -> DiskFile:
        return MortalFile(self, file._descriptor)

    def is_last_step(self) -> bool:
        self.left = None if self.left is None else self.left - 1
        return self.left == 0


class MortalFile(DiskFile):
    def __init__(self, disk: Mortal, descriptor: int) -> None:
        super().__init__(descriptor)
        self._disk = disk

    def write(self, data: bytes, offset: int) -> None:
        if self._disk.is_last_step():
            if len(data) > MARK.size:  # which is written at once, or not at all
                super().write(data[: len(data) // 2], offset)
            raise Killed
        super().write(data, offset)

    def sync(self) -> None:
        if self._disk.is_last_step():  # nobody switches the power off here
            raise Killed


class Step(NamedTuple):
    """Something that happens to the writer in `slot`, or to the reader."""

    what: str
    slot: int
    number: int


WHAT = ("append", "append", "append", "sync", "sync", "kill", "start", "read", "read", "restart", "wait")
steps = st.builds(Step, st.sampled_from(WHAT), st.integers(0, 2), st.integers(0, 4))


class Machine:
    """Writers that are killed anywhere, and a reader that reads meanwhile."""

    def __init__(self, directory: Path, slots: int) -> None:
        self.directory = directory
        self.slots = slots
        self.now_us = 100
        self.wall = Wall()
        self.writers: dict[int, LogWriter] = {}
        self.start(0)
        self.reader = MergedReader(directory, clock=self.wall)
        self.positions: Positions = {}
        self.given: list[LogRecord] = []
        self.cuts: list[Positions] = []

    def do(self, step: Step) -> None:
        slot = step.slot % self.slots
        match step.what:
            case "append" if slot in self.writers:
                self.now_us += step.number
                self.writers[slot].append(Tick(), self.now_us)
            case "sync" if slot in self.writers:
                self.writers[slot].sync()
            case "kill" if slot in self.writers:
                self.kill(slot, step.number)
            case "start" if slot not in self.writers:
                self.start(slot)
            case "read":
                self.read()
            case "restart":
                self.reader = MergedReader(self.directory, clock=self.wall)
            case "wait":
                for _ in range(int(PATIENCE_S / LOOK_S) + 1):
                    self.wall.now += LOOK_S
                    self.read()

    def start(self, slot: int) -> None:
        self.now_us += 1
        self.writers[slot] = LogWriter(self.directory / str(slot), limits=TINY, storage=Mortal())
        self.writers[slot].append(Tick(), self.now_us)

    def kill(self, slot: int, steps_left: int) -> None:
        writer = self.writers.pop(slot)
        disk = writer._storage
        assert isinstance(disk, Mortal)
        disk.left = steps_left
        with suppress(Killed):
            writer.sync()
        die(writer)

    def read(self) -> int:
        self.cuts.append(self.positions)
        records = self.reader.read(self.positions, 64)
        self.given += records
        self.positions = self.positions | behind(records)
        return len(records)

    def end(self) -> None:
        for slot in list(self.writers):
            self.kill(slot, slot + 1)
        while self.read():
            pass


def calm(directory: Path, until: Positions | None = None) -> list[LogRecord]:
    """Read everything from the beginning."""
    records: list[LogRecord] = []
    while more := MergedReader(directory).read(behind(records), until=until):
        records += more
    return records


def places(records: list[LogRecord]) -> list[tuple[int, int]]:
    return [(record.log.slot, record.position) for record in records]


def test_what_a_killed_writer_left_is_read_in_its_place(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 2)
    machine.start(1)
    write(machine.writers[1], 102, 110)
    machine.writers[0].append(Tick(), 105)
    machine.kill(0, ANNOUNCING)
    assert times(machine.reader.read({})) == [(101, 0), (102, 1), (102, 1), (105, 0), (110, 1)]
    assert LogReader(tmp_path / "0").head() == LogWriter(tmp_path / "0", limits=TINY).durable


@settings(max_examples=60)
@given(st.lists(steps, min_size=40, max_size=60), st.integers(2, 3))
def test_the_order_is_that_of_a_calm_pass(story: list[Step], slots: int) -> None:
    """Whatever is killed in the middle of a write, started again, or silent for long while others go on."""
    with TemporaryDirectory() as name:
        machine = Machine(Path(name), slots)
        for step in story:
            machine.do(step)
        machine.end()
        assert places(machine.given) == places(calm(Path(name)))
        assert [order(each) for each in machine.given] == sorted(order(each) for each in machine.given)
        was_silent = any(step.what == "wait" for step in story)
        assert was_silent or not list(Path(name).glob("*/passed")), "else the times alone decide"
        for cut in machine.cuts[:: max(1, len(machine.cuts) // 5)]:
            before = calm(Path(name), until=cut)
            assert places(before) == places(machine.given)[: len(before)] and behind(before) == cut
        for log_id, end in machine.positions.items():
            (log,) = (each for each in Path(name).iterdir() if LogReader(each).log_id == log_id)
            assert LogWriter(log, limits=TINY).durable == end, "the next writer keeps what was read"
