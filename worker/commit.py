"""Writing what a batch means: statements in a fixed order, all inside the caller's transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import TypeVar

import numpy as np

from protocol.columns import FrameBatch
from store import (
    alarms,
    claims,
    clones,
    decisions,
    journeys,
    links,
    media,
    messages,
    pieces,
    positions,
    quarantine,
    terminals,
    tickets,
)
from store.binary import Column, floats, times
from store.blobs import Blobs
from store.claims import Proof
from store.cursors import Connection
from store.media import Medium
from store.messages import Message
from store.placement import Placement, days_of
from store.positions import PositionRows
from store.quarantine import Quarantined
from store.records import SessionOpened
from store.terminals import Registration
from store.times import from_us
from worker.batch import I64, Batch, Place
from worker.decided import KINDS
from worker.facts import Facts
from worker.fleet import Fleet
from worker.poison import WAITS, is_not_now, poisonous

T = TypeVar("T", Quarantined, Message, Medium)


def recognise(connect: Callable[[], Connection], batch: Batch, fleet: Fleet) -> I64:
    """Let the fleet know what was decided before the batch, and every session and terminal of it, and give
    the index of every frame's terminal. New ones get their number here; only they and decisions need the
    connection.
    """
    if batch.decided > fleet.decided.version:
        fleet.take(decisions.since(connect(), fleet.decided.version, batch.decided, KINDS))
        fleet.decided.version = batch.decided
    opened: dict[int, str] = {}
    links: dict[int, int] = {}
    seen: dict[str, int] = {}
    for each in batch.events():
        if isinstance(each.event, SessionOpened):
            opened[each.event.session] = each.event.identity
            links[each.event.session] = each.event.link
            seen.setdefault(each.event.identity, each.at_us)
    terminal = fleet.sessions.terminals(batch.session)
    for row in _strange_sessions(batch, terminal, opened):
        identity = _identity(batch.frames, row)
        opened[int(batch.session[row])] = identity
        seen.setdefault(identity, int(batch.received_us[row]))
    if not opened:
        return terminal
    new = {identity: at_us for identity, at_us in seen.items() if identity not in fleet.index}
    if new:
        connection = connect()
        terminals.add(connection, new)
        numbers = terminals.ids(connection, list(new))
        for identity in new:
            fleet.add(identity, numbers[identity])
        fleet.grow()
        fleet.take(decisions.about(connection, list(new), fleet.decided.version, KINDS))
    fleet.sessions.open({session: fleet.index[identity] for session, identity in opened.items()}, links)
    return fleet.sessions.terminals(batch.session)


def _strange_sessions(batch: Batch, terminal: I64, opened: dict[int, str]) -> list[int]:
    """Give one frame of each session whose beginning was not seen: its header says whose it is.

    There are such sessions only where the snapshot was lost and the beginning of the log is deleted.
    """
    unknown = terminal < 0
    if not unknown.any():
        return []
    numbers, rows = np.unique(batch.session[unknown], return_index=True)
    firsts = np.flatnonzero(unknown)[rows]
    return [int(row) for number, row in zip(numbers.tolist(), firsts, strict=True) if number not in opened]


def _identity(frames: FrameBatch, row: int) -> str:
    return f"{int(frames.key_high[row]) << 64 | int(frames.key_low[row]):X}"


@dataclass(frozen=True, slots=True)
class Places:
    """Where facts go."""

    connection: Connection
    placement: Placement
    """Of positions."""
    blobs: Blobs
    """Contents of media."""
    limits: quarantine.Limits = field(default_factory=quarantine.Limits)
    """Of quarantine."""


def prepare(facts: Facts) -> None:
    """Do what needs no connection."""
    if facts.positions is not None:
        facts.prepared = positions.prepare(facts.positions)


def write(places: Places, facts: Facts, *, bind: bool) -> bool:
    """Write the facts, and say whether an installation changed. With `bind`, plates of registrations fill the
    vehicles by themselves."""
    connection, placement = places.connection, places.placement
    quarantined = list(facts.quarantined)
    if facts.decided is not None:
        version, at_us = facts.decided
        decisions.take(connection, version, from_us(at_us))
    if facts.positions is not None and len(facts.positions):
        _make_days(placement, connection, facts.positions)
        collided = positions.write_prepared(connection, facts.prepared or positions.prepare(facts.positions))
        for row in collided.tolist():
            quarantined += facts.source(row)
        late = facts.positions.late
        if late.any():
            journeys.mark_stale(
                connection, facts.positions.terminal_id[late], facts.positions.placed_us[late]
            )
    quarantine.insert(connection, quarantined, places.limits, only_counted=facts.only_counted)
    messages.insert(connection, facts.messages)
    media.write(connection, places.blobs, facts.media)
    pieces.write(connection, facts.pieces)
    links.insert(connection, facts.links)
    clones.put(connection, facts.clones)
    claims.renew(connection, facts.renewed)
    claims.put(connection, facts.claims)
    bound = terminals.register(connection, _registrations(connection, facts), bind=bind)
    if facts.returned:
        terminals.remember(connection, facts.returned)
    if facts.editions:
        terminals.set_edition(connection, facts.editions)
    if facts.authenticated:
        terminals.set_authenticated(connection, facts.authenticated)
    alarms.apply(connection, facts.alarms)
    tickets.apply(connection, facts.tickets)
    return bound


def _make_days(placement: Placement, connection: Connection, rows: PositionRows) -> None:
    placement.ensure(connection, days_of(rows.placed_us), days_of(rows.received_us)[0])


def _registrations(connection: Connection, facts: Facts) -> list[Registration]:
    """Give what terminals said of themselves, in order of the log."""
    in_order = [each for _, each in sorted(facts.registrations, key=itemgetter(0))]
    said = [claims.prove(connection, each) if isinstance(each, Proof) else each for each in in_order]
    return [each for each in said if each is not None]


def unwritable(places: Places, facts: Facts) -> set[Place]:
    """Say where frames stand whose facts cannot be written, each tried alone; nothing is written. Alarms,
    tickets, links and registrations are not tried: they are no matter of one frame.
    """
    connection, placement = places.connection, places.placement
    found: set[Place] = set()
    with connection.transaction(force_rollback=True):
        if facts.positions is not None and len(facts.positions):
            _make_days(placement, connection, facts.positions)
            for row in positions.unwritable(connection, facts.positions, WAITS).tolist():
                found |= {each.place for each in facts.source(row)}
        found |= _unwritable(connection, facts.quarantined, partial(quarantine.insert, connection))
        found |= _unwritable(connection, facts.messages, partial(messages.insert, connection))
        found |= _unwritable(connection, facts.media, partial(media.write, connection, places.blobs))
    placement.forget()
    return found


def _unwritable(
    connection: Connection, entries: Sequence[T], insert: Callable[[Sequence[T]], None]
) -> set[Place]:
    def can_be_written(some: Sequence[T]) -> bool:
        try:
            with connection.transaction(force_rollback=True):
                insert(some)
        except Exception as error:
            if is_not_now(error):
                raise
            return False
        return True

    return {(each.log_id, each.position, each.ordinal) for each in poisonous(entries, can_be_written)}


def write_states(connection: Connection, fleet: Fleet) -> int:
    """Write the latest of the terminals that changed since the last time, and say how many there are.

    The caller unmarks them when the transaction has committed.
    """
    chosen = np.flatnonzero(fleet.terminals["changed"][: len(fleet)])
    if not len(chosen):
        return 0
    latest, silence = fleet.terminals[chosen], fleet.silence
    heard_us = np.maximum(silence.heard_us[chosen], latest["lobby_us"])
    terminals.put_states(
        connection,
        [
            Column("terminal_id", ">i4", latest["id"]),
            Column("link", ">i4", latest["linked"]),
            times("link_changed_at", latest["link_changed_us"], nullable=True),
            times("last_received_at", heard_us, nullable=True),
            Column("mode", ">i4", silence.mode[chosen]),
            times("silent_since", silence.silent_since_us[chosen], nullable=True),
            times("reported_at", latest["reported_us"], nullable=True),
            times("received_at", latest["received_us"], nullable=True),
            floats("lat", latest["lat"]),
            floats("lon", latest["lon"]),
            times("fix_at", latest["fix_us"], nullable=True),
            floats("speed_kmh", latest["speed_kmh"], ">f4"),
            Column("heading_deg", ">i4", latest["heading_deg"]),
            Column("altitude_m", ">i4", latest["altitude_m"]),
            Column("alarm_bits", ">i8", latest["alarm_bits"]),
            Column("status_bits", ">i8", latest["status_bits"]),
            floats("mileage_km", latest["mileage_km"]),
            times("without_code_at", silence.without_code_us[chosen], nullable=True),
            Column("without_code", ">i8", latest["without_code"]),
        ],
    )
    return len(chosen)
