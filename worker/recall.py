"""Begin without a snapshot: the fleet as the database knows it.

Needed only when the snapshot was lost, for the log before the cursor may be deleted. What the database does
not keep (last frames, runs of late data, counted proof) begins anew; nothing can be doubled by it, because
open alarms and tickets are unique in the database. What a terminal said last counts as told, unless its
alarms were not followed then: of these told is what has an open alarm.
"""

from collections.abc import Mapping
from typing import Any

from alerts.bits import EDITIONS, FLAP_US
from alerts.objects import object_code
from alerts.state import Episode, episode_key
from protocol.edition import Edition
from protocol.words import ALARMS, Ends
from store import alarms, claims, decisions, terminals
from store.cursors import Connection
from tickets.policy import WITHOUT_CODE
from tickets.silence import NEVER, Mode
from worker.decided import LASTING
from worker.fleet import Fleet
from worker.sessions import claim_of, slots_of

_LATEST = [
    *("linked", "link_changed_us", "session", "reported_us", "received_us", "fix_us", "lat", "lon"),
    *("speed_kmh", "heading_deg", "altitude_m", "alarm_bits", "status_bits", "mileage_km"),
]


def recall(connection: Connection) -> Fleet:
    """Read the fleet from the database."""
    fleet = Fleet()
    known = terminals.recall(connection)
    for row in known:
        fleet.add(row["identity"], row["id"])
    fleet.grow()
    for index, row in enumerate(known):
        _recall_one(fleet, index, row)
    places = {row["id"]: place for place, row in enumerate(known)}
    _recall_fallen(connection, fleet, places)
    _recall_unread(connection, fleet, places)
    _recall_claims(connection, fleet, places)
    fleet.decided.version = decisions.taken(connection)
    fleet.take(decisions.at(connection, fleet.decided.version, LASTING))
    linked = fleet.terminals["session"][fleet.terminals["linked"]]
    fleet.gateways["ticked_us"][slots_of(linked)] = 0  # some time; the next tick of any begins to count
    return fleet


def _recall_one(fleet: Fleet, index: int, row: dict[str, Any]) -> None:
    terminal = fleet.terminals[index : index + 1]
    edition = EDITIONS.index(Edition(row["edition"]))
    terminal["edition"] = edition
    for name in _LATEST:
        if row[name] is not None:
            terminal[name] = row[name]
    fleet.silence.authenticated[index] = row["authenticated_us"] is not None
    terminal["without_code"], terminal["forgotten"] = row["without_code"] or 0, row["forgotten"]
    fleet.tickets.without_code[index] = row["fault"] == WITHOUT_CODE
    counts = fleet.silence.authenticated[index] or row["speaks_without_code"]
    if row["mode"] is not None:
        fleet.silence.mode[index] = Mode[row["mode"].upper()]
    for column, name in (
        (fleet.silence.heard_us if counts else fleet.terminals["lobby_us"], "heard_us"),
        (fleet.silence.without_code_us, "without_code_us"),
        (fleet.silence.silent_since_us, "silent_since_us"),
        (fleet.silence.silent_at_us, "silent_since_us"),
        (fleet.tickets.opened_us, "ticket_us"),
    ):
        column[index] = NEVER if row[name] is None else row[name]
    if counts and row["reported_us"] is not None:
        fleet.alarms.live_us[index] = fleet.terminals["newest_us"][index] = row["reported_us"]
        fleet.alarms.edition[index] = edition
        fleet.alarms.live[index] = fleet.silence.alarm_bits[index] = row["alarm_bits"]


def _recall_unread(connection: Connection, fleet: Fleet, index: Mapping[int, int]) -> None:
    """Take nothing for told of what was left unread. What an operator ends is rather raised once more, where
    it was handled and still said, than never.
    """
    for unread in alarms.unread(connection):
        terminal = index[unread.terminal_id]
        names = ALARMS[EDITIONS[fleet.alarms.edition[terminal]]].items()
        by_operator = sum(1 << bit for bit, alarm in names if alarm.ends is Ends.BY_OPERATOR)
        fleet.alarms.live[terminal] = sum(1 << bit for bit, alarm in names if alarm.name in unread.open)
        fleet.alarms.missed[terminal] = unread.bits & by_operator


def _recall_claims(connection: Connection, fleet: Fleet, index: Mapping[int, int]) -> None:
    """Know what sessions claim that may yet authenticate."""
    waiting = claims.waiting(connection)
    fleet.sessions.open({session: index[terminal_id] for terminal_id, session, _ in waiting})
    fleet.sessions.claim(
        {session: claim_of(EDITIONS.index(Edition(edition))) for _, session, edition in waiting}
    )


def _recall_fallen(connection: Connection, fleet: Fleet, index: Mapping[int, int]) -> None:
    """Know what may still come back: the alarms that ended a moment ago."""
    known = dict[int, Episode]()
    for fallen in alarms.lately_ended(connection, FLAP_US):
        terminal = index[fallen.terminal_id]
        names = ALARMS[EDITIONS[fleet.alarms.edition[terminal]]]
        for bit in (bit for bit, alarm in names.items() if alarm.name == fallen.condition):
            known[episode_key(terminal, bit)] = Episode(
                began_us=fallen.began_us,
                seen_us=fallen.ended_us,
                ended_us=fallen.ended_us,
                place=object_code(fallen.object),
                since_us=fallen.began_us,
                fell_us=fallen.fell_us,
            )
    fleet.alarms.remember(known)
