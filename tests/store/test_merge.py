"""Several logs read as one."""

from pathlib import Path

import pytest

from northwatch.gateways import retire
from store.log import LogLimits, LogRecord, LogWriter
from store.merge import LOOK_S, PATIENCE_S, MergedReader, Positions, behind
from store.records import Tick

SMALL = LogLimits(1 << 30, 0, 1 << 20)


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
    write(logs[0], 1000, 400, 402)
    write(logs[1], 999, 1001, 401)
    first = reader.read({})
    second = reader.read(behind(first))
    assert times(first) == [(999, 1), (1000, 0), (1001, 1)]
    assert times(second) == [(400, 0), (401, 1)]


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
