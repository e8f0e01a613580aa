"""Settings that facts depend on, as people see and change them: each change is a decision with its place in
the log, and needs no restart.

What the configuration says is entered when the worker starts; what a person says wins until it is taken back.
"""

from collections.abc import Mapping
from typing import Final, LiteralString, NamedTuple

from store.audit import audit
from store.decisions import CONFIGURED, SETTING, Decision, decide
from store.refusals import NotFound, Unacceptable
from store.select import Connection, Row, fetch_all

DAY_S: Final = 86_400


class Bounds(NamedTuple):
    """What a setting may be."""

    least: float
    most: float
    is_whole: bool = False


SETTINGS: Final[Mapping[str, Bounds]] = {
    "silence.moving_s": Bounds(1, 7 * DAY_S),
    "silence.parked_s": Bounds(1, 30 * DAY_S),
    "silence.asleep_s": Bounds(1, 90 * DAY_S),
    "silence.dwell_s": Bounds(0, 30 * DAY_S),
    "silence.mass_share": Bounds(0.001, 1),
    "silence.mass_least": Bounds(2, 1_000_000, is_whole=True),
    "silence.mass_window_s": Bounds(1, DAY_S),
    "silence.proof_reports": Bounds(1, 10_000, is_whole=True),
    "silence.proof_s": Bounds(1, 30 * DAY_S),
    "worker.media_bytes_per_day": Bounds(1 << 20, 1 << 40, is_whole=True),
}
"""By name, as in the configuration, and in its units. A person's slip of a few digits is refused; what the
configuration says is its own matter."""

_SETTINGS: LiteralString = """
SELECT DISTINCT ON (d.kind, d.subject) d.kind, d.subject AS name, d.value, v.decided_by, v.decided_at,
       d.version <= (SELECT version FROM decisions_taken) AS is_taken
  FROM decisions d JOIN decision_versions v USING (version)
 WHERE d.kind IN ('configured', 'setting')
 ORDER BY d.kind, d.subject, d.version DESC
"""


async def settings(connection: Connection) -> list[Row]:
    """List the settings: what is in force, what the configuration says, who has said otherwise and when, the
    bounds, and whether the worker goes by it already.
    """
    rows = await fetch_all(connection, _SETTINGS)
    found = {(row["kind"], row["name"]): row for row in rows}
    return [_setting(name, found.get((CONFIGURED, name)), found.get((SETTING, name))) for name in SETTINGS]


def _setting(name: str, configured: Row | None, said: Row | None) -> Row:
    is_set = said is not None and said["value"] is not None
    last = said if is_set else configured
    return {
        "name": name,
        "value": last["value"] if last else None,
        "configured": configured["value"] if configured else None,
        "set_by": said["decided_by"] if said and is_set else None,
        "set_at": said["decided_at"] if said and is_set else None,
        "is_taken": all(row["is_taken"] for row in (configured, said) if row is not None),
        **SETTINGS[name]._asdict(),
    }


async def change(connection: Connection, name: str, value: float | None, *, by: str) -> Row:
    """Let a setting be so from now on, or with None as the configuration says, and give it.

    Raises:
        NotFound: there is no such setting.
        Unacceptable: it cannot be so.
    """
    bounds = SETTINGS.get(name)
    if bounds is None:
        raise NotFound("setting", name)
    if value is not None:
        if not bounds.least <= value <= bounds.most:  # false for what is no number
            raise Unacceptable("value", f"has to be {bounds.least:g} to {bounds.most:g}")
        if bounds.is_whole and value != int(value):
            raise Unacceptable("value", "has to be a whole number")
        value = int(value) if bounds.is_whole else float(value)
    if await decide(connection, by, [Decision(SETTING, name, value)]) is not None:
        await audit(connection, by, "setting.changed", name, value=value)
    return next(row for row in await settings(connection) if row["name"] == name)
