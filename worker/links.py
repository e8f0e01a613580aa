"""Links: who is connected, as the gateway wrote it down. What an older session says changes nothing."""

from collections.abc import Iterable, Sequence

import numpy as np

from store.links import LinkEvent
from store.quarantine import Quarantined
from store.records import CloseReason, Rejected, SessionClosed, SessionOpened, Started
from tickets import silence
from worker.batch import Happened
from worker.facts import Facts
from worker.fleet import Fleet

OPENED = "opened"
GATEWAY_RESTARTED = "gateway_restarted"
"""What became of sessions whose gateway ended without saying so."""

_CLOSED = {int(reason): reason.name.lower() for reason in CloseReason}


def follow_links(happened: Sequence[Happened], fleet: Fleet, facts: Facts) -> None:
    """Take note of events, in their order."""
    numbers = [getattr(each.event, "session", 0) for each in happened]
    terminals = fleet.of_sessions(np.array(numbers, np.int64)).tolist()
    for each, index in zip(happened, terminals, strict=True):
        match each.event:
            case SessionOpened(session=session, peer=peer) if index >= 0:
                _open(fleet, index, session, each.at_us)
                facts.links.append(_event(fleet, index, each, OPENED, session, peer))
            case SessionClosed(session=session, reason=reason) if index >= 0:
                _close(fleet, index, session, each.at_us)
                name = _CLOSED.get(reason, f"closed_{reason}")
                facts.links.append(_event(fleet, index, each, name, session))
            case Started():
                _restart(fleet, each, facts)
            case Rejected(reason=reason, raw=raw, peer=peer):
                terminal_id = int(fleet.terminals["id"][index]) if index >= 0 else None
                facts.quarantined.append(
                    Quarantined(each.at_us, reason, raw, each.position, 0, terminal_id=terminal_id, peer=peer)
                )


def forget_sessions(happened: Iterable[Happened], fleet: Fleet) -> None:
    """Forget the sessions of which no frame can follow any more."""
    closed: set[int] = set()
    opened: set[int] = set()
    restarted = False
    for each in happened:
        match each.event:
            case SessionOpened(session=session):
                opened.add(session)
            case SessionClosed(session=session):
                closed.add(session)
            case Started():
                restarted = True
                opened.clear()
    if restarted:
        fleet.keep_sessions(opened)
    fleet.close_sessions(closed)


def _open(fleet: Fleet, index: int, session: int, at_us: int) -> None:
    terminal = fleet.terminals[index : index + 1]
    if session > terminal["session"][0]:
        terminal["session"] = session
        terminal["linked"] = True
        terminal["link_changed_us"] = at_us
        terminal["changed"] = True


def _close(fleet: Fleet, index: int, session: int, at_us: int) -> None:
    terminal = fleet.terminals[index : index + 1]
    if session == terminal["session"][0] and terminal["linked"][0]:
        terminal["linked"] = False
        terminal["link_changed_us"] = at_us
        terminal["changed"] = True


def _restart(fleet: Fleet, started: Happened, facts: Facts) -> None:
    """A gateway has started: the sessions of the one before it are over."""
    silence.interrupted(fleet.silence, started.at_us)
    for index in np.flatnonzero(fleet.terminals["linked"]).tolist():
        session = int(fleet.terminals["session"][index])
        _close(fleet, index, session, started.at_us)
        facts.links.append(_event(fleet, index, started, GATEWAY_RESTARTED, session))


def _event(
    fleet: Fleet, index: int, happened: Happened, name: str, session: int, peer: str = ""
) -> LinkEvent:
    return LinkEvent(int(fleet.terminals["id"][index]), happened.at_us, name, session, peer)
