"""The archive's chore: it seals, and removes what is neither young nor held."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from keeper.chores import archive
from keeper.options import KeeperOptions
from store.archive import days, remove_day
from store.proof import prove
from tests.store.archives import Machine, later

Connection = psycopg.Connection[Any]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def test_consumed_logs_are_sealed_kept_and_removed(connection: Connection, machine: Machine) -> None:
    options = KeeperOptions("unused", machine.logs.parent)
    machine.drive(0, "13900000001", 0, 10)
    assert not archive.step(connection, options, later(0)).what  # nothing is consumed yet
    machine.consume()
    assert not archive.step(
        connection, KeeperOptions("unused", machine.logs.parent, archive=False), later(1)
    ).what
    done = archive.step(connection, options, later(1))
    assert done.more and done.what.startswith("sealed chunk 1 of 2026-09-21: 10 frames")
    assert not archive.step(connection, options, later(1)).what
    assert not archive.step(connection, options, later(0) + options.retention.tracks).what
    (day,) = days(machine.directory)
    _hold(connection, archive.ArchiveDay(day))
    old = later(2) + options.retention.tracks
    assert not archive.step(connection, options, old).what
    connection.execute("UPDATE holds SET released_at = now(), released_by = 'test'")
    assert archive.step(connection, options, old).what == "removed 1 chunk of 2026-09-21"
    assert not days(machine.directory)
    (removed,) = prove(machine.directory).removed
    assert removed.day == day and removed.why == "kept for 400 days"


def test_what_cannot_be_sorted_is_set_aside_and_told(
    connection: Connection, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise ValueError("zero-size array")

    options = KeeperOptions("unused", machine.logs.parent)
    machine.drive(0, "13900000001", 0, 10)
    machine.consume()
    sealing = archive.archivist(options.data_dir, options.chunk_bytes)
    with monkeypatch.context() as broken:
        broken.setattr(sealing, "_identify", fail)
        done = archive.step(connection, options, later(1))
    assert done.what.startswith("sealed chunk 1")
    cause = "ValueError: zero-size array"
    told = {"set_aside": [{"chunk": 1, "day": "2026-09-21", "cause": cause}]}
    assert done.tells == told
    assert archive.step(connection, options, later(1)).tells == told
    archive.archivist.cache_clear()  # the keeper is started again
    assert archive.step(connection, options, later(1)).tells == told
    machine.writers[0].trim()
    assert len(machine.found("13900000001")) == 10
    assert [(each.chunk, each.cause) for each in prove(machine.directory).set_aside] == [(1, cause)]
    remove_day(machine.directory, days(machine.directory)[0], why="test", now=later(2))
    archive.archivist.cache_clear()
    assert archive.step(connection, options, later(1)).tells == {"set_aside": []}


def _hold(connection: Connection, day: archive.ArchiveDay) -> None:
    connection.execute("INSERT INTO vehicles (plate) VALUES ('辽A00001')")
    connection.execute(
        "INSERT INTO holds (vehicle_id, begins_at, ends_at, reason, placed_by)"
        " SELECT id, %s, %s, 'accident', 'test' FROM vehicles",
        [day.ends_at - timedelta(seconds=1), day.ends_at + timedelta(days=1)],
    )
