"""The embedded database: starts, survives a kill, refuses what it cannot read."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from store.embedded import MAJOR, Embedded, OlderDatabase, StartFailed


@pytest.fixture
def directory() -> Iterator[Path]:
    fresh = Path(tempfile.mkdtemp(prefix="northwatch-test-"))
    yield fresh
    shutil.rmtree(fresh)


def test_committed_rows_survive_a_kill(directory: Path) -> None:
    database = Embedded(directory / "database")
    dsn = database.start()
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept (a integer)")
        connection.execute("INSERT INTO kept VALUES (1)")
    assert database.is_running() and database.is_ready()
    database.kill()
    assert not database.is_running()
    assert database.start() == dsn
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT a FROM kept").fetchall() == [(1,)]
    database.stop()
    assert not database.is_running() and not database.is_ready()


def test_a_second_process_finds_the_running_server(directory: Path) -> None:
    first, second = Embedded(directory / "database"), Embedded(directory / "database")
    assert first.start() == second.start()
    assert first.pid() == second.pid()
    second.stop()
    assert not first.is_running()


def test_a_path_too_long_for_a_socket_gets_one_elsewhere(directory: Path) -> None:
    database = Embedded(directory / ("long" * 25) / "database")
    assert database.socket_directory != database.directory
    database.start()
    database.stop()
    shutil.rmtree(database.socket_directory)


def test_another_major_version_is_refused_with_what_to_do(directory: Path) -> None:
    (directory / "database").mkdir()
    (directory / "database" / "PG_VERSION").write_text(f"{MAJOR - 2}\n")
    with pytest.raises(OlderDatabase, match="northwatch doctor"):
        Embedded(directory / "database").start()


def test_a_server_that_cannot_start_shows_its_log(directory: Path) -> None:
    database = Embedded(directory / "database", {"shared_buffers": "many"})
    with pytest.raises(StartFailed, match="shared_buffers"):
        database.start()


def test_a_lock_file_that_names_a_stranger_stops_nothing(directory: Path) -> None:
    database = Embedded(directory / "database")
    database.start()
    database.stop()
    (database.directory / "postmaster.pid").write_text(f"{os.getpid()}\n{database.directory}\n")
    database.start()
    database.stop()


def test_an_interrupted_creation_starts_over(directory: Path) -> None:
    half = directory / "database.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("half")
    database = Embedded(directory / "database")
    database.start()
    os.kill(database.pid() or 0, signal.SIGKILL)
    database.start()
    database.stop()
