"""The embedded database: starts, survives a kill, refuses what it cannot read."""

import os
import pwd
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
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


def test_a_link_in_the_place_of_the_socket_directory_is_refused(directory: Path) -> None:
    ours = directory / "ours"
    ours.mkdir()
    before = ours.stat()
    database = Embedded(directory / ("long" * 25) / "database")
    database.socket_directory.symlink_to(ours)
    with pytest.raises(StartFailed, match="no directory"):
        database.start()
    database.socket_directory.unlink()
    assert ours.stat() == before


def as_neighbour(dsn: str) -> str:
    """Connect as another user of this machine, and give what the server or the kernel says to it."""
    return done_by_neighbour(lambda: psycopg.connect(dsn).close())


def done_by_neighbour(act: Callable[[], object]) -> str:
    """Do something as another user of this machine, and give what it failed with, or that it was let in."""
    neighbour = pwd.getpwnam(NEIGHBOUR)
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(neighbour.pw_gid)
        os.setuid(neighbour.pw_uid)
        try:
            act()
            said = "let in"
        except BaseException as error:
            said = str(error)
        os.write(tell, said.encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as said_by_child:
        said = said_by_child.read().decode()
    os.waitpid(child, 0)
    return said


NEIGHBOUR = "daemon"
"""A user of this machine that has nothing to do with us."""
TRUST = "local all all trust\nhost all all 127.0.0.1/32 trust\n"
"""As directories of older versions have it."""

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def open_the_socket(database: Embedded) -> None:
    """What the directory keeps out, so that the server has to."""
    for directory in (database.directory, *database.directory.parents):
        if directory != Path("/") and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)
    (database.socket_directory / ".s.PGSQL.5432").chmod(0o777)


@only_root
def test_a_neighbour_on_the_machine_is_kept_out_twice(directory: Path) -> None:
    database = Embedded(directory / "database")
    dsn = database.start()
    assert "Permission denied" in as_neighbour(dsn)
    open_the_socket(database)
    for user in ("postgres", "northwatch", "nobody"):
        assert "Peer authentication failed" in as_neighbour(dsn.replace("postgres@", f"{user}@"))
    with psycopg.connect(dsn):
        pass
    database.stop()


@only_root
def test_a_directory_that_trusted_everybody_is_moved_over(directory: Path) -> None:
    database = Embedded(directory / "database")
    with psycopg.connect(database.start()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS a")
    database.stop()
    rules = database.directory / "pg_hba.conf"
    for is_running in (True, False):  # the server outlives who started it, so it may be an older version's
        rules.write_text(TRUST)
        database.directory.chmod(0o700)
        if is_running:
            database._launch(database._account())
            while not database.is_ready():
                time.sleep(0.05)
            open_the_socket(database)
            assert as_neighbour(database.dsn()) == "let in"
        dsn = Embedded(directory / "database").start()
        open_the_socket(database)
        while as_neighbour(dsn) == "let in":  # a running server reads its files a moment after it is told
            time.sleep(0.05)
        assert "Peer authentication failed" in as_neighbour(dsn)
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT a FROM kept").fetchall() == [(1,)]
        assert rules.with_suffix(".before").read_text() == TRUST
        database.stop()


@only_root
def test_root_leaves_a_users_database_to_the_user(directory: Path) -> None:
    database = Embedded(directory / "database")
    database.start()
    database.stop()
    user = pwd.getpwnam(NEIGHBOUR)
    for each in (database.log_file, directory / "database.lock"):
        each.unlink()
    for each in (directory, *directory.rglob("*")):
        os.chown(each, user.pw_uid, user.pw_gid)
    directory.chmod(0o700)

    def owners() -> set[int]:
        return {each.lstat().st_uid for each in (directory, *directory.rglob("*"))}

    database.start()  # by root, where nothing runs
    assert owners() == {user.pw_uid}
    database.stop()
    assert done_by_neighbour(Embedded(database.directory).start) == "let in"
    people = (database.directory / "pg_ident.conf").read_text()
    Embedded(database.directory).start()  # by root, where the user's server runs
    assert owners() == {user.pw_uid}
    assert (database.directory / "pg_ident.conf").read_text() == people
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert as_neighbour(database.dsn()) == "let in"
    database.stop()
