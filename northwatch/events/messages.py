"""What is said on which topic: rows of the outbox become MQTT messages. Pure.

    <prefix>/platform                           retained   are events flowing?
    <prefix>/terminals/<identity>/link          retained   online or offline, since when
    <prefix>/terminals/<identity>/alarms/<id>   retained   while the alarm is open, then empty
    <prefix>/terminals/<identity>/tickets/<id>  retained   while the ticket is open, then empty
    <prefix>/events/<identity>/link             each link that began or ended
    <prefix>/events/<identity>/alarm            each change of an alarm
    <prefix>/events/<identity>/ticket           each change of a ticket

A state says how things are and replaces what was said before. An event says what happened, once or, after a
disturbance, again with the same `id`. The schema is `docs/mqtt.md`; `VERSION` grows when readers must change.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import msgspec

from protocol.edition import Edition
from protocol.words import ALARMS

VERSION: Final = 1
Row: TypeAlias = dict[str, Any]

FAULTS: Final = {"silent": "终端失联", "without_code": "终端未鉴权"}
_CHINESE: Final = {
    (edition.value, bit.name): bit.chinese for edition in Edition for bit in ALARMS[edition].values()
}
_ALARM: Final = ("condition", "object", "edition", "severity", "ends", "began_at", "lat", "lon", "speed_kmh")
_TICKET: Final = ("fault", "reason", "opened_at")
_encoder: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message, QoS 1."""

    topic: str
    payload: bytes
    """UTF-8 JSON; empty where a retained state is taken away."""
    retain: bool


def event(prefix: str, row: Row) -> Message:
    """Give the message of something that happened."""
    kind = row["kind"]
    if kind == "link":
        is_opened = row["change"] == "opened"
        name = "link.opened" if is_opened else "link.closed"
        # Numbers of sessions are larger than what JavaScript counts exactly.
        said: Row = {"session": str(row["session"]), "peer": row["peer"] or None}
        said["reason"] = None if is_opened else row["change"]
    else:
        name = f"{kind}.{row['change']}"
        said = {"by": row["by"], "detail": row["detail"], kind: _thing(kind, row, row["subject_id"])}
    content = {
        "v": VERSION,
        "id": f"{kind}-{row['id']}",
        "event": name,
        "at": _utc(row["at"]),
        "terminal": row["identity"],
        "vehicle": row["vehicle"],
        **said,
    }
    return _message(f"{prefix}/events/{row['identity']}/{kind}", content, retain=False)


def state(prefix: str, row: Row) -> Message:
    """Give the message of how a link, an alarm or a ticket is."""
    kind, identity = row["kind"], row["identity"]
    if kind == "link":
        topic = f"{prefix}/terminals/{identity}/link"
        said: Row = {
            "state": "online" if row["online"] else "offline",
            "since": _utc(row["since"]),
            "reason": row["reason"],
        }
    else:
        topic = f"{prefix}/terminals/{identity}/{kind}s/{row['id']}"
        if not row["is_open"]:
            return Message(topic, b"", retain=True)
        names = ("desk", "taken_by", "handled_by", "result") if kind == "alarm" else ("state", "assigned_to")
        said = {**_thing(kind, row, row["id"]), **{name: row[name] for name in names}}
    return _message(
        topic, {"v": VERSION, "terminal": identity, "vehicle": row["vehicle"], **said}, retain=True
    )


def platform(prefix: str, is_online: bool, why: str, at: datetime | None = None) -> Message:
    """Give the message about ourselves.

    Args:
        why: online: `sending` until every state was told, then `complete`; offline: `stopped`, `database` (it
            does not answer) or `lost`, which the broker says for us without knowing the time.
    """
    state = "online" if is_online else "offline"
    content = {"v": VERSION, "state": state, "states" if is_online else "reason": why, "at": _utc(at)}
    return _message(f"{prefix}/platform", content, retain=True)


def _thing(kind: str, row: Row, number: int) -> Row:
    """Give what never changes of an alarm or a ticket, and its name in both languages."""
    said = {"id": number} | {name: row[name] for name in (_ALARM if kind == "alarm" else _TICKET)}
    word = said["condition"] if kind == "alarm" else said["fault"]
    chinese = _CHINESE.get((row["edition"], word)) if kind == "alarm" else FAULTS.get(word)
    said["names"] = {"zh": chinese or word, "en": word.replace("_", " ")}
    return {name: _utc(value) if isinstance(value, datetime) else value for name, value in said.items()}


def _utc(at: datetime | None) -> str | None:
    """Write a time as 2026-06-01T04:00:00.000000Z, always as long, so that texts sort like times."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _message(topic: str, content: Row, *, retain: bool) -> Message:
    return Message(topic, _encoder.encode(content), retain)
