"""What each process may do in the database, where it connects with a role of its own.

Who migrates owns the tables. The keeper owns `position_records`, its days and TimescaleDB's `terminal_hours`,
for only an owner may drop, compress and refresh them; who fills a day that is not there asks the function
`make_position_days`, which works with the keeper's rights. Everybody else has what stands here and no more.

A role protects against what gets into one process's connection, a mistake in a statement above all. It does
not protect against somebody who runs programs as the user that runs Northwatch.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from store.schema import TablesInUse

Connection = psycopg.Connection[Any]

LOCK: Final = 0x6E77_0002
"""Advisory lock held while rights are given, so that two who start together do not meet."""

ATTEMPTS: Final = 5
LOCK_TIMEOUT_MS: Final = 2000
"""How long one attempt waits for a table that gets another owner. Whoever writes waits behind us as long, so
it is short; between two attempts they go on."""


class Process(StrEnum):
    """Who connects."""

    GATEWAY = "gateway"
    WORKER = "worker"
    MONITOR = "monitor"
    KEEPER = "keeper"
    EVENTS = "events"


_FLEET = (
    "terminals vehicles installations decision_counter decision_versions decisions decisions_taken migrations"
)
_FACTS = (
    "alarms alarm_changes claims clones cursors held_terminals holds incidents link_events media messages"
    " pieces positions quarantine quarantine_counts quarantine_size terminal_states tickets ticket_changes"
)
_TOLD = "outbox_consumers outbox_listeners"
"""Whoever writes a change tells who listens, by triggers."""
_JOURNEYS = "hour_cursors leg_cursors legs stale_days stale_hours terminal_days terminal_hours"
_SECRETS = "recovery_codes second_factors sign_ins signing_keys"
"""What nobody but the monitor sees."""

RIGHTS: Final[Mapping[Process, Mapping[LiteralString, str]]] = {
    Process.GATEWAY: {"SELECT": _FLEET},
    Process.WORKER: {
        "SELECT": f"{_FLEET} {_FACTS} {_TOLD} {_JOURNEYS} pieces_begin position_records",
        # It decides what the configuration file says.
        "INSERT": "alarms alarm_changes claims clones cursors decision_versions decisions incidents"
        " installations link_events media"
        " messages outbox pieces position_records quarantine quarantine_counts stale_days stale_hours"
        " terminal_states terminals tickets ticket_changes vehicles",
        "UPDATE": "alarms claims clones cursors decision_counter decision_versions decisions_taken incidents"
        " installations media position_records quarantine_counts quarantine_size terminal_states terminals"
        " tickets",
        "DELETE": "claims decision_versions pieces pieces_begin",
    },
    Process.MONITOR: {
        "SELECT": f"{_FLEET} {_FACTS} {_TOLD} {_JOURNEYS} audit {_SECRETS} users",
        "INSERT": "alarm_changes audit decision_versions decisions holds installations outbox terminals"
        f" ticket_changes {_SECRETS} users vehicles",
        "UPDATE": "decision_counter holds installations quarantine_size second_factors sign_ins terminals"
        " tickets users vehicles",
        "DELETE": "decision_versions quarantine recovery_codes second_factors sign_ins",
    },
    Process.KEEPER: {
        "SELECT": f"{_FLEET} {_FACTS} {_TOLD} {_JOURNEYS}",
        # It accepts and forgets terminals of the lobby.
        "INSERT": "alarm_changes audit decision_versions decisions outbox ticket_changes"
        " hour_cursors leg_cursors legs terminal_days terminal_hours",
        # Of `holds` for its lock: a hold that is being placed comes first or waits.
        "UPDATE": "decision_counter holds hour_cursors installations leg_cursors legs quarantine_size"
        " terminal_days terminal_hours terminals tickets",
        "DELETE": "alarms alarm_changes decision_versions legs link_events media messages quarantine"
        " quarantine_counts stale_days stale_hours terminal_days tickets ticket_changes",
        "TRUNCATE": "stale_hours",
    },
    Process.EVENTS: {
        "SELECT": f"{_FLEET} {_FACTS} {_TOLD} outbox",
        "INSERT": "outbox_consumers",
        "UPDATE": "outbox_consumers",
        "DELETE": "outbox",
    },
}
COLUMNS: Final[Mapping[Process, Mapping[tuple[LiteralString, LiteralString], LiteralString]]] = {
    # What the desk did with an alarm stands beside it; what the terminal said is the worker's.
    Process.MONITOR: {
        ("UPDATE", "alarms"): "taken_by, taken_at, handled_by, handled_at, result, note, ended_at, on_desk",
        ("UPDATE", "audit"): "detail",  # attempts of one minute are one entry with a count
        ("UPDATE", "quarantine_counts"): "kept",  # people delete what is kept
    },
    Process.KEEPER: {("UPDATE", "alarms"): "on_desk, ended_at"},
    Process.EVENTS: {("SELECT", "users"): "id, name, display_name"},
}
"""Rights on some columns."""

_KEPT: Final = """
SELECT c.relnamespace::regnamespace::text, c.relname, c.relkind, pg_get_userbyid(c.relowner) <> %s
  FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
 WHERE c.oid = 'position_records'::regclass OR i.inhparent = 'position_records'::regclass AND c.relispartition
    OR c.oid = 'terminal_hours'::regclass AND c.relkind = 'v'
"""
"""What the keeper owns, or is to own."""


def give(connection: Connection, roles: Mapping[Process, str], *, make: bool = False) -> None:
    """Give each role the rights of its process, and take all others from it. Several processes may share one.

    Args:
        make: make roles that are missing, with leave to connect and no password

    Raises:
        psycopg.errors.InsufficientPrivilege: the connection's role may not.
        TablesInUse: what gets another owner is being read; nothing was changed.
    """
    for _ in range(ATTEMPTS):
        try:
            with connection.transaction():
                _give(connection, roles, make)
            return
        except psycopg.errors.LockNotAvailable:
            continue
    raise TablesInUse


def _give(connection: Connection, roles: Mapping[Process, str], make: bool) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    for role in sorted(set(roles.values())):
        if make:
            _make(connection, role)
        _run(connection, "REVOKE ALL ON ALL TABLES IN SCHEMA {} FROM {}", _schema(connection), role)
        # A copy that was restored without its rights lets everybody call it.
        _run(connection, "REVOKE ALL ON FUNCTION make_position_days FROM PUBLIC, {}", role)
        _run(connection, "GRANT USAGE ON SCHEMA {} TO {}", _schema(connection), role)
        _run(connection, "GRANT TEMPORARY ON DATABASE {} TO {}", connection.info.dbname, role)
    if keeper := roles.get(Process.KEEPER):
        _hand_over(connection, keeper)
    for process, role in roles.items():
        for right, tables in RIGHTS[process].items():
            names = sql.SQL(", ").join(map(sql.Identifier, tables.split()))
            connection.execute(
                sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(right), names, sql.Identifier(role))
            )
        for (right, table), columns in COLUMNS.get(process, {}).items():
            connection.execute(
                sql.SQL("GRANT {} ({}) ON {} TO {}").format(
                    sql.SQL(right), sql.SQL(columns), sql.Identifier(table), sql.Identifier(role)
                )
            )
    for process in (Process.WORKER, Process.KEEPER):
        if process in roles:
            _run(connection, "GRANT EXECUTE ON FUNCTION make_position_days TO {}", roles[process])


def _hand_over(connection: Connection, keeper: str) -> None:
    """Make the keeper's role the owner of what only an owner can keep.

    Another owner needs a table for itself, and who writes would wait with us for whoever reads: what is the
    keeper's already is left alone.
    """
    _run(connection, "GRANT CREATE ON SCHEMA {} TO {}", _schema(connection), keeper)
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCK_TIMEOUT_MS))
    for schema, name, kind, is_anothers in connection.execute(_KEPT, [keeper]).fetchall():
        table = sql.Identifier(schema, name), sql.Identifier(keeper)
        if is_anothers:
            what: LiteralString = "MATERIALIZED VIEW" if kind == "v" else "TABLE"
            connection.execute(sql.SQL("ALTER " + what + " {} OWNER TO {}").format(*table))
        connection.execute(sql.SQL("GRANT ALL ON {} TO {}").format(*table))
    _run(connection, "ALTER FUNCTION make_position_days OWNER TO {}", keeper)


def _make(connection: Connection, role: str) -> None:
    """Make a role, unless it is there: a server has one set of them for all its databases."""
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount:
        return
    try:
        with connection.transaction():
            _run(connection, "CREATE ROLE {} LOGIN", role)
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        pass  # somebody at another database was faster


def _schema(connection: Connection) -> str:
    row = connection.execute("SELECT current_schema()").fetchone()
    assert row is not None
    return str(row[0])


def _run(connection: Connection, statement: LiteralString, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
