"""Each process's role: what it must be able to do is done under it by its suite; here is what it must not."""

import secrets
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql
from psycopg.errors import InsufficientPrivilege

from store import expiry, grants, schema
from store.grants import COLUMNS, RIGHTS, Process
from store.placement import Placement
from tests.databases import ROLES, Server, as_process

EVERYBODY = [
    "DROP TABLE alarms",
    "ALTER TABLE terminals ADD mine integer",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "SET ROLE postgres",
    "ALTER TABLE users OWNER TO CURRENT_USER",
    "INSERT INTO migrations (number, name, checksum) VALUES (9999, 'mine', '')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('postgresql.conf')",
    "DELETE FROM audit",
    "DELETE FROM users",
    "TRUNCATE alarms",
]
SECRETS = ("recovery_codes", "second_factors", "sign_ins", "signing_keys")
FORBIDDEN = {
    Process.GATEWAY: [
        "UPDATE alarms SET condition = 'mine'",
        "SELECT FROM positions",
        "SELECT FROM users",
        "UPDATE terminals SET known = true",
        "SELECT make_position_days('2026-01-01', '2026-01-02')",
    ],
    Process.WORKER: [
        *(f"SELECT FROM {table}" for table in (*SECRETS, "users", "audit", "outbox")),
        "INSERT INTO users (name, role, password_hash) VALUES ('mine', 'admin', '')",
        "UPDATE decisions SET value = 'true'",
        "DELETE FROM positions",
        "DELETE FROM alarms",
        "DROP TABLE position_records",
        "CREATE TABLE mine (a integer)",
    ],
    Process.MONITOR: [
        "UPDATE alarms SET condition = 'mine'",
        "INSERT INTO position_records SELECT * FROM position_records",
        "UPDATE positions SET late = true",
        "DELETE FROM positions",
        "INSERT INTO alarms (terminal_id) VALUES (1)",
        "UPDATE alarms SET began_at = now()",
        "UPDATE alarms SET terminal_id = 1",
        "DELETE FROM alarms",
        "UPDATE alarm_changes SET change = 'mine'",
        "UPDATE cursors SET position = 0",
        "UPDATE terminal_states SET silent_since = NULL",
        "UPDATE audit SET user_name = 'mine'",
        "INSERT INTO link_events (session) VALUES (1)",
        "SELECT make_position_days('2026-01-01', '2026-01-02')",
        "CREATE TABLE mine (a integer)",
    ],
    Process.KEEPER: [
        "UPDATE alarms SET condition = 'mine'",
        *(f"SELECT FROM {table}" for table in (*SECRETS, "users", "audit")),
        "DELETE FROM terminals",
        "UPDATE cursors SET position = 0",
    ],
    Process.EVENTS: [
        "UPDATE alarms SET condition = 'mine'",
        "SELECT password_hash FROM users",
        "SELECT FROM sign_ins",
        "DELETE FROM alarms",
        "UPDATE terminals SET known = true",
        "CREATE TABLE mine (a integer)",
    ],
}


@pytest.mark.parametrize("process", Process)
def test_what_no_business_of_a_process_is_fails(dsn: str, process: Process) -> None:
    with psycopg.connect(as_process(dsn, process), autocommit=True) as connection:
        for statement in [*EVERYBODY, *FORBIDDEN[process]]:
            with pytest.raises(InsufficientPrivilege):
                connection.execute(statement)  # type: ignore[arg-type]
                pytest.fail(f"{process} may {statement}")


def test_every_table_is_somebodys(connection: psycopg.Connection[Any]) -> None:
    """A table that no process may read or write was forgotten here, or is not needed any more."""
    there = {
        name
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
            " AND relkind IN ('r', 'p', 'v') AND NOT relispartition"
        )
    }
    spoken_of = {
        table for rights in RIGHTS.values() for tables in rights.values() for table in tables.split()
    }
    spoken_of |= {table for rights in COLUMNS.values() for _, table in rights}
    assert spoken_of == there


def test_a_day_that_the_worker_fills_is_the_keepers(dsn: str) -> None:
    day = date(2026, 1, 5)
    with psycopg.connect(as_process(dsn, Process.WORKER)) as worker:
        Placement().ensure(worker, [day, day + timedelta(days=40)], day + timedelta(days=60))
        worker.execute(
            "INSERT INTO position_records (terminal_id, placed_at, received_at, body_hash, alarm_bits,"
            " status_bits, speed, heading, altitude, msg_id, serial, authenticated, late)"
            " VALUES (1, %(at)s, %(at)s, 1, 0, 3, 0, 0, 0, 512, 1, true, false)",
            {"at": day},
        )
    with psycopg.connect(as_process(dsn, Process.KEEPER)) as keeper:
        first = next(each for each in expiry.days(keeper) if day in each.stretch.days())
        assert expiry.drop_day(keeper, first)
        assert keeper.execute("SELECT count(*) FROM positions").fetchone() == (0,)


def test_rights_are_given_again_and_nothing_more_stays(connection: psycopg.Connection[Any], dsn: str) -> None:
    connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO northwatch_monitor")
    connection.execute("GRANT EXECUTE ON FUNCTION make_position_days TO PUBLIC")  # as a copy without rights
    grants.give(connection, ROLES, make=True)
    test_what_no_business_of_a_process_is_fails(dsn, Process.MONITOR)


def test_giving_the_same_rights_again_waits_for_nobody(connection: psycopg.Connection[Any], dsn: str) -> None:
    """An export reads for minutes, and the worker would wait behind who waits for it."""
    Placement().ensure(connection, [date(2026, 1, 5)])
    connection.execute("SET lock_timeout = 1000")
    with psycopg.connect(dsn) as busy:
        busy.execute("LOCK TABLE position_records IN SHARE ROW EXCLUSIVE MODE")
        busy.execute("SELECT FROM terminal_hours")
        grants.give(connection, ROLES)


def test_a_table_that_is_read_gets_no_other_owner_and_says_so(
    connection: psycopg.Connection[Any], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "LOCK_TIMEOUT_MS", 50)
    connection.execute("ALTER TABLE position_records OWNER TO CURRENT_USER")
    with psycopg.connect(dsn) as reader:
        reader.execute("SELECT FROM positions")
        with pytest.raises(schema.TablesInUse, match="position_records"):
            grants.give(connection, ROLES)
    grants.give(connection, ROLES)
    owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'position_records'")
    assert owner.fetchone() == (ROLES[Process.KEEPER],)


@pytest.fixture
def own_roles(server: Server) -> Iterator[tuple[str, dict[Process, str]]]:
    """An empty database of one who is no superuser, and roles that somebody made for the processes."""
    mark = secrets.token_hex(4)
    owner, roles = f"owner_{mark}", {process: f"own_{process}_{mark}" for process in Process}
    names = [owner, *roles.values()]
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        for name in names:
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        kept, database = map(sql.Identifier, (roles[Process.KEEPER], owner))
        admin.execute(sql.SQL("GRANT {} TO {}").format(kept, database))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(database, database))
        with psycopg.connect(conninfo.make_conninfo(server.dsn, dbname=owner), autocommit=True) as inside:
            if inside.execute("SELECT FROM pg_available_extensions WHERE name = 'timescaledb'").rowcount:
                inside.execute("CREATE EXTENSION timescaledb")
                grant = sql.SQL("GRANT CREATE ON SCHEMA _timescaledb_internal TO {}")
                inside.execute(grant.format(kept))
        yield conninfo.make_conninfo(server.dsn, dbname=owner, user=owner), roles
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
        for name in names:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_who_is_no_superuser_gives_rights_on_a_server_of_ones_own(
    own_roles: tuple[str, dict[Process, str]],
) -> None:
    dsn, roles = own_roles
    with psycopg.connect(dsn, autocommit=True) as owner:
        schema.migrate(owner)
        for _ in range(2):
            grants.give(owner, roles)
        Placement().ensure(owner, [date(2026, 1, 5)])
        assert owner.execute("SELECT count(*) FROM positions").fetchone() == (0,)
    for process, role in roles.items():
        with psycopg.connect(conninfo.make_conninfo(dsn, user=role), autocommit=True) as connection:
            connection.execute("SELECT FROM terminals")
            if process is Process.WORKER:
                Placement().ensure(connection, [date(2026, 1, 6)])
                with pytest.raises(InsufficientPrivilege):
                    connection.execute("SELECT FROM users")
