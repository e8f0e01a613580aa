"""The schema's versions: numbered SQL files, applied in order, each in a transaction, none ever changed.

What was applied is written in table `migrations` with a checksum of the file. A file that changed or
disappeared after it was applied is *drift*: the database is then not what the code believes, and nothing
starts on it.

    SchemaError
    ├── Drift           an applied migration is not the file we have
    ├── NewerSchema     a newer Northwatch has migrated this database
    ├── SchemaMissing   migrations are pending and nobody asked to apply them
    └── TablesInUse     somebody holds tables that are to get another owner
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

Connection = psycopg.Connection[Any]

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x6E77_0001
"""Advisory lock held while migrating, so that two processes started at once do not both migrate."""

_FILE_NAME = re.compile(r"(\d{4})_([a-z_]+)\.sql")

_APPLIED_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class SchemaError(Exception):
    """The database's schema is not the one this version works with."""


class Drift(SchemaError):
    """An applied migration is not the file we have."""

    def __init__(self, number: int, name: str, what: str) -> None:
        self.number, self.name = number, name
        super().__init__(
            f"migration {number:04} ({name}) {what}. The database was migrated by other code than this; "
            "install the version that migrated it, or restore the file."
        )


class NewerSchema(SchemaError):
    """A newer Northwatch has migrated this database."""

    def __init__(self, found: int, known: int) -> None:
        self.found, self.known = found, known
        super().__init__(
            f"the database has migration {found:04}, this version knows {known:04} at most. "
            "Install a newer Northwatch."
        )


class SchemaMissing(SchemaError):
    """Migrations are pending and nobody asked to apply them."""

    def __init__(self, pending: "list[Migration]") -> None:
        self.pending = pending
        names = ", ".join(f"{each.number:04}" for each in pending)
        super().__init__(f"the database lacks migration {names}. Run `northwatch migrate`.")


class TablesInUse(SchemaError):
    """Somebody holds tables that are to get another owner."""

    def __init__(self) -> None:
        super().__init__(
            "position_records and its days cannot get another owner while somebody uses them. "
            "Wait for the end of exports and dumps (pg_stat_activity shows them), and start again."
        )


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def available(directory: Path = MIGRATIONS) -> list[Migration]:
    """Read the numbered files in order.

    Raises:
        SchemaError: a file's name is no `0001_name.sql`, or a number is missing or used twice.
    """
    found = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise SchemaError(f"{path.name} in {directory} should be named like 0001_fleet.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    numbers = [each.number for each in found]
    if numbers != list(range(1, len(found) + 1)):
        raise SchemaError(f"migrations in {directory} should be numbered 1 to {len(found)}, found {numbers}")
    return found


def migrate(connection: Connection, directory: Path = MIGRATIONS) -> list[Migration]:
    """Apply what is pending, each migration in its own transaction, and give what was applied.

    Raises:
        SchemaError: drift, or a database of a newer version; nothing was changed.
    """
    files = available(directory)
    applied: list[Migration] = []
    _use_timescale(connection)
    while True:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            connection.execute(_APPLIED_TABLE)
            waiting = _pending(connection, files)
            if not waiting:
                return applied
            following = waiting[0]
            connection.execute(sql.SQL(following.text))
            connection.execute(
                "INSERT INTO migrations (number, name, checksum) VALUES (%s, %s, %s)",
                [following.number, following.name, following.checksum],
            )
            applied.append(following)


def check(connection: Connection, directory: Path = MIGRATIONS) -> None:
    """Make sure that the schema is exactly the one this version works with.

    Raises:
        SchemaError: it is not; the message says what to do.
    """
    files = available(directory)
    with connection.transaction():
        exists = connection.execute("SELECT to_regclass('migrations') IS NOT NULL").fetchone()
        waiting = _pending(connection, files) if exists and exists[0] else files
    if waiting:
        raise SchemaMissing(waiting)


def _pending(connection: Connection, files: list[Migration]) -> list[Migration]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        applied = cursor.execute("SELECT number, name, checksum FROM migrations ORDER BY number").fetchall()
    known = {each.number: each for each in files}
    if applied and files and applied[-1][0] > files[-1].number:
        raise NewerSchema(applied[-1][0], files[-1].number)
    for number, name, checksum in applied:
        file = known.get(number)
        if file is None:
            raise Drift(number, name, "was applied but its file is gone")
        if file.checksum != checksum:
            raise Drift(number, name, "was changed after it was applied")
    done = {number for number, _, _ in applied}
    return [each for each in files if each.number not in done]


def _use_timescale(connection: Connection) -> None:
    """Install TimescaleDB before the first migration where the server offers it and lets us.

    A server that has it only half (not preloaded, no privilege) is used as plain PostgreSQL; `doctor` says
    so. Later it would change nothing: how `positions` is divided is decided when the table is created.
    """
    with connection.transaction():
        row = connection.execute(
            "SELECT to_regclass('positions') IS NULL"
            " AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')"
            " AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
        ).fetchone()
    if row is None or not row[0]:
        return
    try:
        with connection.transaction():
            connection.execute("SET LOCAL client_min_messages = error")  # its welcome banner is a warning
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg.OperationalError:
        # Without the preload line the library ends the whole session (FATAL): the caller connects again.
        raise
    except psycopg.DatabaseError:
        return
