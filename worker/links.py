"""Links: who is connected, as the gateway wrote it down. What an older session says changes nothing."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from store.clones import Clone
from store.links import LinkEvent
from store.merge import SLOTS
from store.quarantine import Quarantined
from store.records import Cloned, CloseReason, Rejected, SessionClosed, SessionOpened, Started
from tickets import silence
from tickets.silence import NEVER
from worker.batch import I64, Batch, Happened, Part
from worker.facts import Facts
from worker.fleet import Fleet
from worker.sessions import slots_of

OPENED = "opened"
GATEWAY_RESTARTED = "gateway_restarted"
"""What became of sessions whose gateway ended without saying so."""
GATEWAY_LOST = "gateway_lost"
"""… and did not start again, while others go on."""
GATEWAY_BACK = "gateway_back"
"""It had only stopped for a while, and its sessions go on."""

LOST_AFTER_US: Final = 30 * silence.SECOND_US
"""A gateway that has not ticked for so long, while others have, is lost: longer than one takes to start
again, and about as long as its terminals take to connect to another one.
"""

_CLOSED = {int(reason): reason.name.lower() for reason in CloseReason}


def follow_links(happened: Sequence[Happened], fleet: Fleet, facts: Facts) -> None:
    """Take note of events, in their order."""
    numbers: list[int] = [getattr(each.event, "session", 0) for each in happened]
    terminals = fleet.sessions.terminals(np.array(numbers, np.int64)).tolist()
    for each, index in zip(happened, terminals, strict=True):
        match each.event:
            case SessionOpened(session=session, peer=peer) if index >= 0:
                _open(fleet, index, session, each.at_us)
                _note(fleet, index, each, facts, OPENED, session, peer)
            case SessionClosed(session=session, reason=reason) if index >= 0:
                _close(fleet, index, session, each.at_us)
                name = _CLOSED.get(reason, f"closed_{reason}")
                _note(fleet, index, each, facts, name, session)
            case Started():
                _restart(fleet, each, facts)
            case Cloned(peers=peers, frames=frames, take_overs=take_overs) if index >= 0:
                terminal_id = int(fleet.terminals["id"][index])
                facts.clones.append(Clone(terminal_id, each.at_us, peers, frames, take_overs))
            case Rejected(reason=reason, raw=raw, peer=peer):
                known_id = int(fleet.terminals["id"][index]) if index >= 0 else None
                facts.quarantined.append(
                    Quarantined(
                        received_us=each.at_us,
                        reason=reason,
                        raw=raw,
                        log_id=each.log.log_id,
                        position=each.position,
                        ordinal=0,
                        terminal_id=known_id,
                        peer=peer,
                    )
                )


def follow_speakers(batch: Batch, terminal: I64, part: Part, fleet: Fleet, facts: Facts) -> None:
    """Take note of who has said something that counts in a newer session than before: that is its link.

    Who has a code proves its session so; an older one that did before it was known is passed over. The events
    of the part have been followed, also those that came later.
    """
    rows, known = part.rows, fleet.terminals
    whose, session, proved = terminal[rows], batch.session[rows], batch.authenticated[rows]
    newest = np.where(proved, known["authenticated_session"][whose], known["session"][whose])
    found = np.flatnonzero(session > newest)
    if not len(found):
        return
    for row in found.tolist():
        index, number = int(whose[row]), int(session[row])
        one, at_us = known[index : index + 1], int(batch.received_us[rows][row])
        if number <= one["authenticated_session" if proved[row] else "session"][0]:
            continue
        if proved[row]:
            one["authenticated_session"] = number
            facts.authenticated[int(one["id"][0])] = at_us
        one["session"], one["linked"], one["link_changed_us"], one["changed"] = number, True, at_us, True
    for each in part.events:
        if isinstance(each.event, SessionClosed):
            closed = int(fleet.sessions.terminals(np.array([each.event.session]))[0])
            if closed >= 0:
                _close(fleet, closed, each.event.session, each.at_us)


def follow_gateways(slot: int, tick_us: int, fleet: Fleet, facts: Facts) -> None:
    """Take note of a gateway's tick: it lives, and others that did not tick for long do not."""
    ticked, lost = fleet.gateways["ticked_us"], fleet.gateways["lost_us"]
    expected = ticked != NEVER
    if not 0 <= tick_us - fleet.silence.tick_us <= silence.TICK_GAP_US:
        ticked[expected] = tick_us  # nobody ticked, which says nothing of any one of them
    if lost[slot] != NEVER:
        _regain(fleet, slot, tick_us, facts)
    ticked[slot] = tick_us
    for gone in np.flatnonzero(expected & (ticked < tick_us - LOST_AFTER_US)).tolist():
        _end(fleet, gone, tick_us, GATEWAY_LOST, facts)
        ticked[gone], lost[gone] = NEVER, tick_us


def forget_sessions(happened: Iterable[Happened], fleet: Fleet) -> None:
    """Forget the sessions of which no frame can follow any more."""
    closed: set[int] = set()
    opened: set[int] = set()
    restarted: dict[int, set[int]] = {}
    for each in happened:
        match each.event:
            case SessionOpened(session=session):
                opened.add(session)
            case SessionClosed(session=session):
                closed.add(session)
            case Started():
                restarted[each.log.slot] = set(opened)
    for slot, before in restarted.items():
        fleet.sessions.keep(slot, opened - before)
    fleet.sessions.close(closed)


def _open(fleet: Fleet, index: int, session: int, at_us: int) -> None:
    ticked = fleet.gateways["ticked_us"]
    slot = session % SLOTS
    ticked[slot] = max(ticked[slot], at_us)
    terminal = fleet.terminals[index : index + 1]
    if session > terminal["session"][0] and not fleet.silence.authenticated[index]:
        terminal["session"] = session
        terminal["linked"] = True
        terminal["link_changed_us"] = at_us
        terminal["changed"] = True


def _close(fleet: Fleet, index: int, session: int, at_us: int) -> None:
    terminal = fleet.terminals[index : index + 1]
    if session == terminal["session"][0]:  # perhaps once more, where it had counted as lost
        terminal["linked"] = False
        terminal["link_changed_us"] = at_us
        terminal["changed"] = True


def _restart(fleet: Fleet, started: Happened, facts: Facts) -> None:
    """A gateway has started: the sessions of the one before it are over. If no other one has lived on, all
    terminals have to come back.
    """
    slot, at_us = started.log.slot, started.at_us
    gateway, others = fleet.gateways[slot : slot + 1], np.delete(fleet.gateways, slot)
    is_alive = others["ticked_us"] >= at_us - silence.TICK_GAP_US
    if not (is_alive & (others["started_us"] < at_us - LOST_AFTER_US)).any():
        silence.interrupted(fleet.silence, at_us)
    _end(fleet, slot, at_us, GATEWAY_RESTARTED, facts)
    gateway["ticked_us"] = gateway["started_us"] = at_us
    gateway["lost_us"] = NEVER


def _end(fleet: Fleet, slot: int, at_us: int, event: str, facts: Facts) -> None:
    """End the sessions of a gateway that can no more do so itself."""
    terminals = fleet.terminals
    ended = terminals["linked"] & (slots_of(terminals["session"]) == slot)
    for index in np.flatnonzero(ended).tolist():
        session = int(terminals["session"][index])
        _close(fleet, index, session, at_us)
        facts.links.append(LinkEvent(int(terminals["id"][index]), at_us, event, session))


def _regain(fleet: Fleet, slot: int, at_us: int, facts: Facts) -> None:
    """A gateway that was lost ticks again: its sessions that did not end meanwhile go on."""
    terminals, lost_us = fleet.terminals, fleet.gateways["lost_us"]
    unchanged = ~terminals["linked"] & (terminals["link_changed_us"] == lost_us[slot])
    lost_us[slot] = NEVER
    back = unchanged & (slots_of(terminals["session"]) == slot)
    for index in np.flatnonzero(back).tolist():
        terminals["linked"][index] = terminals["changed"][index] = True
        terminals["link_changed_us"][index] = at_us
        session = int(terminals["session"][index])
        facts.links.append(LinkEvent(int(terminals["id"][index]), at_us, GATEWAY_BACK, session))


def _note(
    fleet: Fleet, index: int, happened: Happened, facts: Facts, name: str, session: int, peer: str = ""
) -> None:
    """Write an event down, unless a terminal has too many."""
    if fleet.reading.may_link(index, happened.at_us):
        facts.links.append(LinkEvent(int(fleet.terminals["id"][index]), happened.at_us, name, session, peer))
