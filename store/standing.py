"""How standing changes by itself: who has reported well for a day is accepted, who authenticates needs its
code from then on, and who waits in the lobby and was not heard for days is forgotten.
"""

from datetime import datetime
from typing import Any, Final, LiteralString

import psycopg

from store.decisions import ACCEPTED, SPEAKS_WITHOUT_CODE, Decision, decide_now
from store.quality import UNQUALIFIED, Quality

Connection = psycopg.Connection[Any]

ENROLMENT: Final = "enrolment"
"""Who decides by itself that a terminal is accepted, or needs its code."""
FORGETTING: Final = "forgetting"
"""… or forgotten."""
LEAST_QUALIFIED: Final = 100
"""Reports without fault over a day or more: one in a quarter of an hour. Who only tries us says less."""
AT_ONCE: Final = 500
"""Terminals of one step: a version is decided in milliseconds, for which others who decide wait."""

_FAULTS: Final = UNQUALIFIED | Quality.NO_FIX

_READY: LiteralString = f"""
SELECT t.identity
  FROM terminals t JOIN terminal_states s ON s.terminal_id = t.id
 WHERE NOT (t.known OR t.blocked OR t.forgotten)
   AND t.first_authenticated_at <= s.received_at - interval '1 day'
   AND {LEAST_QUALIFIED} = (
       SELECT count(*) FROM (
           SELECT FROM positions p
            WHERE p.terminal_id = t.id AND p.authenticated AND p.quality & {_FAULTS:d} = 0
              AND p.received_at >= t.first_authenticated_at LIMIT {LEAST_QUALIFIED}) good)
 ORDER BY t.id LIMIT {AT_ONCE}
"""
_PROVEN: LiteralString = f"""
SELECT t.identity
  FROM terminals t
  JOIN LATERAL (SELECT d.version FROM decisions d
                 WHERE d.kind = '{SPEAKS_WITHOUT_CODE}' AND d.subject = t.identity
                 ORDER BY d.version DESC LIMIT 1) AS last ON true
  JOIN decision_versions v USING (version)
 WHERE t.speaks_without_code AND v.decided_by = 'upgrade' AND t.authenticated_at > v.decided_at
 ORDER BY t.id LIMIT {AT_ONCE}
"""
_SILENT: LiteralString = f"""
SELECT forget(%s, ARRAY(
    SELECT t.id FROM terminals t LEFT JOIN terminal_states s ON s.terminal_id = t.id
     WHERE NOT (t.known OR t.blocked OR t.forgotten OR t.speaks_without_code)
       AND greatest(s.last_received_at, s.without_code_at, t.first_seen_at, t.created_at) < %s
     ORDER BY t.id LIMIT {AT_ONCE}))
"""


def accept_ready(connection: Connection) -> int:
    """Accept terminals that have reported well for a day, in the caller's transaction, and say how many."""
    ready = connection.execute(_READY).fetchall()
    decide_now(connection, ENROLMENT, [Decision(ACCEPTED, identity, True) for (identity,) in ready])
    return len(ready)


def require_codes(connection: Connection) -> int:
    """Let terminals that may speak without a code only since the upgrade, and have authenticated after it, do
    so no more, in the caller's transaction, and say how many.
    """
    proven = connection.execute(_PROVEN).fetchall()
    decisions = [Decision(SPEAKS_WITHOUT_CODE, identity, False) for (identity,) in proven]
    decide_now(connection, ENROLMENT, decisions)
    return len(proven)


def forget_silent(connection: Connection, before: datetime) -> int:
    """Forget terminals that wait in the lobby and were last heard before a time, in the caller's transaction,
    and say how many.
    """
    row = connection.execute(_SILENT, [FORGETTING, before]).fetchone()
    return int(row[0]) if row else 0
