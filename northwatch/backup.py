"""`northwatch backup` and `northwatch restore`: everything that must not be lost, in one directory.

The order makes the copy whole while everything goes on. First the database, in one snapshot, with its
cursors; then the logs, the archive and the media, which only grow: what the snapshot has not read yet is in
the copied logs, and what it points to is among the copied files. Restored, the worker goes on where the
snapshot's cursor stands, and facts appear once.

    DIRECTORY/manifest.json     when, by which version, cursors, sizes; written last: it makes a backup one
    DIRECTORY/database.dump     PostgreSQL's custom format
    DIRECTORY/data/             what the data directory has besides the database

A second backup into the same directory copies only the files that are new.

    BackupError     says what stands in the way and what to do
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psycopg

from northwatch.config import Settings, without_password
from northwatch.modes import close
from northwatch.wiring import database, logs_directory
from store import schema, survey
from store.embedded import program
from store.log import LogReader
from store.merge import logs_in

MANIFEST: Final = "manifest.json"
DUMP: Final = "database.dump"
DATA: Final = "data"
NOT_COPIED: Final = frozenset({"database", "database.lock", "worker", "gateways"})
"""The database is dumped; the worker's snapshots and the gateways' sockets are made anew."""
GROWING: Final = frozenset({"heads", "head", "consumed", "archived"})
"""Small files that are copied every time, and before what they speak of."""

_HARMLESS: Final = "transaction_timeout"
"""Our `pg_restore` sets this, and servers before 17 do not know it."""

Say = Callable[[str], None]


class BackupError(Exception):
    """It cannot be done; the message says why and what helps."""


def back_up(settings: Settings, directory: Path, say: Say) -> None:
    """Write a backup, or bring the one in `directory` up to date.

    Raises:
        BackupError
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()) and not (directory / DATA).exists():
            raise BackupError(f"{directory} is not empty and no backup. Name another directory.")
        (directory / MANIFEST).unlink(missing_ok=True)
        with database(settings) as connection:
            timescaledb = survey.server(connection).timescaledb
            cursors = _dump(connection, directory / DUMP, say)
        copied = _copy(settings.data_dir, directory / DATA, say)
    except (OSError, psycopg.Error) as error:
        raise BackupError(without_password(str(error)).strip()) from error
    _check_logs(directory / DATA / logs_directory(settings).name, cursors)
    manifest = {
        "northwatch": version("northwatch"),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "timescaledb": timescaledb,
        "database_bytes": (directory / DUMP).stat().st_size,
        "files": copied,
        "cursors": cursors,
    }
    os.sync()
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2), "utf-8")
    os.sync()


def _dump(connection: psycopg.Connection[Any], path: Path, say: Say) -> dict[str, int]:
    """Dump the database, and give its cursors in the same snapshot."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        rows = connection.execute("SELECT log_id::text, position FROM cursors").fetchall()
        say("the database")
        half = path.with_suffix(".part")
        words = ("--format=custom", f"--file={half}")
        _run(connection, "pg_dump", f"--snapshot={row[0]}", *words)
        half.replace(path)
    return dict(rows)


def _run(connection: psycopg.Connection[Any], name: str, *words: str) -> None:
    """Run one of PostgreSQL's programs on the connection's database."""
    # psycopg leaves the password out of `dsn`, and everybody on the machine can read a program's words.
    environment = os.environ | ({"PGPASSWORD": connection.info.password} if connection.info.password else {})
    done = subprocess.run(
        [program(name), f"--dbname={connection.info.dsn}", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = [line for line in done.stderr.splitlines() if "error:" in line and _HARMLESS not in line]
    if wrong or done.returncode not in (0, 1):
        raise BackupError(f"{name} failed: {' '.join(wrong[:3]) or done.stderr.strip()}")


def _copy(source: Path, target: Path, say: Say) -> int:
    """Copy what is not there yet, and say how many files there are."""
    count = 0
    for name in sorted({each.name for each in source.iterdir()} - NOT_COPIED):
        say(name)
        for path in _files(source / name):
            there = target / path.relative_to(source)
            there.parent.mkdir(parents=True, exist_ok=True)
            try:
                _copy_file(path, there)
            except FileNotFoundError:
                continue  # a consumed segment, or an expired day, went just now
            count += 1
    return count


def _files(place: Path) -> Iterator[Path]:
    """Give the regular files, those that speak of the others first."""
    if place.is_file():
        yield place
    elif place.is_dir():
        inside = sorted(place.iterdir(), key=lambda each: (each.name not in GROWING, each.name))
        for each in inside:
            yield from _files(each)


def _copy_file(path: Path, there: Path) -> None:
    """Copy a file unless the copy has its size and time."""
    now = path.stat()
    if there.exists():
        before = there.stat()
        if (before.st_size, before.st_mtime_ns) == (now.st_size, now.st_mtime_ns):
            return
    half = there.with_name(there.name + ".part")
    shutil.copy2(path, half)
    close(half)
    half.replace(there)


def _check_logs(directory: Path, cursors: dict[str, int]) -> None:
    """Make sure that the copied logs reach back to the snapshot's cursors."""
    for slot, place in logs_in(directory).items():
        reader = LogReader(place)
        if reader.start > cursors.get(str(reader.log_id), 0):
            raise BackupError(
                f"while the database was dumped, log {slot} let go of records that the dump has not read. "
                "Run the backup again: what is copied already stays."
            )


def restore(settings: Settings, directory: Path, say: Say) -> dict[str, Any]:
    """Make the data directory and the database what they were; gives the manifest.

    Raises:
        BackupError: it is no whole backup, or the data directory or the database holds something already.
    """
    try:
        manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BackupError(f"{directory} is no whole backup: {error}") from error
    data_dir = settings.data_dir
    if data_dir.exists() and any(data_dir.iterdir()):
        raise BackupError(f"{data_dir} is not empty. A backup is restored into a new data directory.")
    if (directory / DUMP).stat().st_size != manifest["database_bytes"]:
        raise BackupError(f"{directory / DUMP} is not whole")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with database(settings, create=True) as connection:
            connection.autocommit = True
            say("the database")
            _fill(connection, directory / DUMP, bool(manifest["timescaledb"]))
        _copy(directory / DATA, data_dir, say)
    except (OSError, psycopg.Error) as error:
        raise BackupError(without_password(str(error)).strip()) from error
    return manifest


def _fill(connection: psycopg.Connection[Any], dump: Path, with_timescale: bool) -> None:
    """Restore the dump into an empty database."""
    row = connection.execute("SELECT to_regclass('terminals') IS NULL").fetchone()
    if not (row and row[0]):
        raise BackupError("the database has tables already. Name an empty one, or a new data directory.")
    if with_timescale:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        connection.execute("SELECT timescaledb_pre_restore()")
    try:
        _run(connection, "pg_restore", "--no-owner", "--no-acl", str(dump))
    finally:
        if with_timescale:
            connection.execute("SELECT timescaledb_post_restore()")
    connection.execute("ANALYZE")
    schema.check(connection)
