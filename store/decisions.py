"""What people decide and facts depend on: versions, and what each says.

A version is written by `decide`, in the transaction in which a person, or a rule that stands for one,
decides. The gateway learns of it with its copy of the fleet and appends `Decided(version)` to the log; from
that record on the worker goes by it. So a restart, a replay and any cut into batches use the same decisions
at the same place.

A decision says of one subject one thing, until a later version says otherwise:

    kind                  subject            value
    accepted              identity           true: this terminal is one of ours
    blocked               identity           true: it is let in no more
    code_epoch            identity           number; codes of an earlier epoch are worthless
    speaks_without_code   identity           true: what it says counts without its authentication code
    forgotten             identity           true: out of every list until it is heard again
    enrolment             lobby              until when new terminals come, and how many; null: no more
    configured            name of a setting  from the configuration
    setting               name of a setting  from a person, and wins; null: as configured
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from store.select import Connection as AsyncConnection

Connection = psycopg.Connection[Any]

ACCEPTED: Final = "accepted"
BLOCKED: Final = "blocked"
CODE_EPOCH: Final = "code_epoch"
SPEAKS_WITHOUT_CODE: Final = "speaks_without_code"
FORGOTTEN: Final = "forgotten"
ENROLMENT: Final = "enrolment"
CONFIGURED: Final = "configured"
SETTING: Final = "setting"

OF_TERMINALS: Final = (ACCEPTED, BLOCKED, CODE_EPOCH, SPEAKS_WITHOUT_CODE, FORGOTTEN)
"""Kinds whose subject is a terminal. What holds of it now stands in `terminals` as well."""
OF_SETTINGS: Final = (CONFIGURED, SETTING)

CONFIGURATION: Final = "configuration"
"""Who decides what the configuration file says."""

_TURN: LiteralString = "SELECT FROM decision_counter FOR UPDATE"
_DECIDE: LiteralString = "SELECT decide(%s, %s::text[], %s::text[], %s::jsonb[])"

_SINCE: LiteralString = """
SELECT kind, subject, value FROM decisions
 WHERE version > %s AND version <= %s AND kind = ANY(%s)
 ORDER BY version, kind, subject
"""
_ABOUT: LiteralString = """
SELECT DISTINCT ON (kind, subject) kind, subject, value
  FROM decisions WHERE kind = ANY(%s) AND subject = ANY(%s) AND version <= %s
 ORDER BY kind, subject, version DESC
"""
_AT: LiteralString = """
SELECT DISTINCT ON (kind, subject) kind, subject, value
  FROM decisions WHERE kind = ANY(%s) AND version <= %s
 ORDER BY kind, subject, version DESC
"""


class Decision(NamedTuple):
    """What a version says of one subject."""

    kind: str
    subject: str
    value: Any
    """JSON; None where nothing is decided any more."""


async def await_turn(connection: AsyncConnection) -> None:
    """Wait until nobody else decides; from here on others wait for the end of the caller's transaction. Who
    adds or changes terminals and then decides begins with this, else two could wait for each other.
    """
    await connection.execute(_TURN)


async def decide(connection: AsyncConnection, by: str, decisions: Iterable[Decision]) -> int | None:
    """Write decisions as one version, in the caller's transaction, and give its number; None where all of it
    is decided so already. Others who decide wait until that transaction ends.
    """
    cursor = await connection.execute(_DECIDE, (by, *_arrays(decisions)))
    row = await cursor.fetchone()
    return None if row is None else next(iter(row.values()))


def decide_now(connection: Connection, by: str, decisions: Iterable[Decision]) -> int | None:
    """Do as `decide`, for who does not run in an event loop."""
    row = connection.execute(_DECIDE, (by, *_arrays(decisions))).fetchone()
    return None if row is None else row[0]


def _arrays(decisions: Iterable[Decision]) -> tuple[list[str], list[str], list[Jsonb | None]]:
    said = list(decisions)
    values = [None if each.value is None else Jsonb(each.value) for each in said]
    return [each.kind for each in said], [each.subject for each in said], values


def configure(connection: Connection, settings: Mapping[str, Any]) -> int | None:
    """Let the configuration say so, as `decide` does; where it said so already, nobody waits."""
    with connection.transaction():
        said = {each.subject: each.value for each in at(connection, newest(connection), [CONFIGURED])}
        if all(said.get(name, ...) == value for name, value in settings.items()):
            return None
        decisions = [Decision(CONFIGURED, name, value) for name, value in settings.items()]
        return decide_now(connection, CONFIGURATION, decisions)


def newest(connection: Connection) -> int:
    """Give the last version; 0 where nothing was ever decided."""
    return _number(connection, "SELECT version FROM decision_counter")


def taken(connection: Connection) -> int:
    """Give the last version to whose record the worker has come."""
    return _number(connection, "SELECT version FROM decisions_taken")


def at_place(connection: Connection, at: datetime) -> int:
    """Give the version that held for what was received at that time."""
    row = connection.execute(
        "SELECT coalesce(max(version), 0) FROM decision_versions WHERE taken_at <= %s", [at]
    ).fetchone()
    return int(row[0]) if row else 0


def take(connection: Connection, version: int, at: datetime) -> None:
    """Note that a version has its place in the log, in a record received at that time. One that this database
    never gave, because it is an older copy or a new one, is given to nobody else.
    """
    given = {"version": version, "at": at}
    connection.execute("UPDATE decisions_taken SET version = %(version)s WHERE version < %(version)s", given)
    connection.execute(
        "UPDATE decision_versions SET taken_at = %(at)s WHERE version <= %(version)s AND taken_at IS NULL",
        given,
    )
    connection.execute("UPDATE decision_counter SET version = %(version)s WHERE version < %(version)s", given)


def since(connection: Connection, after: int, until: int, kinds: Sequence[str]) -> list[Decision]:
    """Give what was decided in the versions behind `after` up to `until`, in their order, of some kinds."""
    return _decisions(connection, _SINCE, (after, until, list(kinds)))


def about(
    connection: Connection, subjects: Sequence[str], version: int, kinds: Sequence[str]
) -> list[Decision]:
    """Give what holds of some subjects at a version, of some kinds."""
    return _decisions(connection, _ABOUT, (list(kinds), list(subjects), version))


def at(connection: Connection, version: int, kinds: Sequence[str]) -> list[Decision]:
    """Give all that holds at a version, of some kinds."""
    return _decisions(connection, _AT, (list(kinds), version))


def _decisions(connection: Connection, query: LiteralString, given: Sequence[Any]) -> list[Decision]:
    return [Decision(*row) for row in connection.execute(query, given).fetchall()]


def _number(connection: Connection, query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
