"""What does not count: said by who has not proved who it is.

The gateway's verdict stands beside each frame (`store.records.FrameFlag`) and is not decided anew:

    LOBBY      a stranger: positions of an entry of the lobby and its latest place, and nothing else
    UNPROVEN   who has a code, or was accepted, said it without: that it did, and nothing else

What either says beside that goes to quarantine. 0x0100 (终端注册) is a **claim**: kept beside the terminal as
what it says of itself, and its registration once that session has authenticated.

Only more cautious than the gateway: of two, one hears a moment later than the other that a terminal has
authenticated. From then on it is no stranger.
"""

from functools import partial
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from alerts.bits import EDITIONS
from protocol.columns import locations
from protocol.edition import registered_edition
from protocol.frame import MAX_BODY
from protocol.message import Undecodable, decode_body
from store import positions
from store.binary import stable_order
from store.claims import Claim, Proof, Renewed
from store.quarantine import bucket_of
from store.records import SessionClosed, SessionOpened
from worker.batch import Batch
from worker.facts import Facts
from worker.fleet import E2019, Fleet
from worker.messages import (
    ASK_FRAGMENTS,
    ASK_TIME,
    AUTHENTICATE,
    BATCH_LOCATION,
    DEREGISTER,
    HEARTBEAT,
    LOCATION,
    REGISTER,
    TERMINAL_REPLY,
    UNDECODABLE_BODY,
    is_plain,
    quarantined,
    registration,
)
from worker.reading import TOO_MANY
from worker.reports import Source, read_reports, remember_latest, rows_of, source_of
from worker.runs import Runs
from worker.sessions import NO_CLAIM, claim_of

I64: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

WITHOUT_CODE: Final = "without_code"
"""Why something is in quarantine: it does not count."""

_SAYS_NOTHING: Final = np.zeros(1 << 16, np.bool_)
_SAYS_NOTHING[[TERMINAL_REPLY, HEARTBEAT, DEREGISTER, ASK_TIME, ASK_FRAGMENTS, REGISTER, AUTHENTICATE]] = True
"""By id: there is nothing in it to keep."""
_IS_LOCATION: Final = np.zeros(1 << 16, np.bool_)
_IS_LOCATION[[LOCATION, BATCH_LOCATION]] = True


class Apart(NamedTuple):
    """The rows of a batch by what they may change, ascending."""

    counted: I64
    lobby: I64
    unproven: I64


class Unproven(NamedTuple):
    """What was said without its code by who has one, from tick to tick."""

    terminal: I64
    received_us: I64
    parts: list[slice]
    """Which of it belongs to each part of the batch."""

    @classmethod
    def of(cls, batch: Batch, terminal: I64, rows: I64) -> "Unproven":
        """Give what these rows of the batch say. Not by registering: so a terminal gets its code."""
        rows = rows[batch.frames.msg_id[rows] != REGISTER]
        parts = [slice(*np.searchsorted(rows, (part.rows.start, part.rows.stop))) for part in batch.parts]
        return cls(terminal[rows], batch.received_us[rows], parts)

    def note(self, fleet: Fleet, part: int) -> None:
        """Let the fleet know what was said in a part."""
        terminal = self.terminal[self.parts[part]]
        fleet.silence.without_code_us[terminal] = self.received_us[self.parts[part]]
        np.add.at(fleet.terminals["without_code"], terminal, 1)
        fleet.terminals["changed"][terminal] = True


def find_apart(batch: Batch, terminal: I64, fleet: Fleet) -> Apart | None:
    """Say which frames do not count; None where all do, as usual."""
    is_lobby, is_unproven = batch.lobby, batch.unproven
    is_apart = is_lobby | is_unproven
    if not is_apart.any():
        return None
    if is_lobby.any():
        proved = np.flatnonzero(batch.authenticated & ~is_apart)[::-1]
        since = np.where(fleet.silence.authenticated, -1, len(terminal))
        since[terminal[proved]] = np.minimum(since[terminal[proved]], proved)
        is_lobby = is_lobby & (since[terminal] > np.arange(len(terminal)))
    rows = (~is_apart, is_lobby, is_apart & ~is_lobby)
    return Apart(*(np.flatnonzero(each) for each in rows))


def follow_claims(
    batch: Batch, terminal: I64, fleet: Fleet, facts: Facts, apart: Apart | None
) -> dict[int, int]:
    """Read what sessions claim, and take what they claimed as said when they have authenticated. Gives the
    rows from which on a terminal speaks by the edition of its claim, with that edition as a number.
    """
    _follow_renewals(batch, fleet, facts)
    newest = fleet.sessions.newest(batch.session)
    made = {} if apart is None else _claims(batch, terminal, newest, fleet, facts, apart)
    before = fleet.sessions.claims(newest)
    is_proof = batch.authenticated & (before != NO_CLAIM)
    if made:
        is_proof |= batch.authenticated & np.isin(newest, newest[list(made)])
    waiting: dict[int, int] = {}
    editions: dict[int, int] = {}
    for row in sorted({*made, *np.flatnonzero(is_proof).tolist()}):
        session = int(newest[row])
        if row in made:
            waiting[session] = made[row]
        elif claim := waiting.get(session, int(before[row])):
            waiting[session] = NO_CLAIM
            terminal_id = int(fleet.terminals["id"][terminal[row]])
            proof = Proof(terminal_id, int(batch.session[row]), session, int(batch.received_us[row]))
            facts.registrations.append((int(batch.number[row]), proof))
            if claim != claim_of(E2019):  # its frames say so themselves
                editions[row] = claim - claim_of(0)
    fleet.sessions.claim(waiting)
    return editions


def keep_apart(batch: Batch, terminal: I64, fleet: Fleet, facts: Facts, apart: Apart) -> None:
    """Keep what does not count where it harms nobody, and note when it came."""
    state = fleet.terminals
    state["lobby_us"][terminal[apart.lobby]] = batch.received_us[apart.lobby]
    state["changed"][terminal[apart.lobby]] = True
    frames = batch.frames
    is_position = _IS_LOCATION[frames.msg_id[apart.lobby]] & is_plain(frames)[apart.lobby]
    rest = np.concatenate([apart.unproven, apart.lobby[~is_position]])
    for row in np.sort(rest[~_SAYS_NOTHING[frames.msg_id[rest]]]).tolist():
        _quarantine(batch, terminal, fleet, facts, row, WITHOUT_CODE)


def lobby_positions(
    batch: Batch, terminal: I64, fleet: Fleet, facts: Facts, lobby: I64
) -> tuple[positions.PositionRows, Source]:
    """Read what strangers report, and give the rows and whose they are. Nothing depends on what they said
    before: the last one to come is the latest.
    """
    lobby = lobby[is_plain(batch.frames)[lobby]]
    found = locations(batch.frames, lobby[stable_order(terminal[lobby])])
    for row, reason in sorted({each.row: each.reason for each in reversed(found.bad)}.items()):
        _quarantine(batch, terminal, fleet, facts, row, reason)
    reports = read_reports(batch, found)
    runs, late = Runs.of(terminal[reports.row]), reports.is_backfill
    remember_latest(fleet, reports, runs.key, (~late).nonzero()[0])
    rows = rows_of(fleet, batch, reports, runs, late)
    return rows, partial(source_of, batch, rows, reports.row, {})


def _follow_renewals(batch: Batch, fleet: Fleet, facts: Facts) -> None:
    """Keep what a session claims that goes on under another number: it opens on the same link, for the same
    terminal, before the older one is closed.
    """
    links = {each.event.link for each in batch.events() if isinstance(each.event, SessionOpened)}
    if not links:
        return
    on_links, closed = fleet.sessions.on_links(links), set[int]()
    for each in batch.events():
        match each.event:
            case SessionClosed(session=session):
                closed.add(session)
            case SessionOpened(session=number, link=link, identity=identity):
                index = fleet.index[identity]
                beside = on_links.get((link, index), ())
                older = [session for session in beside if session < number and session not in closed]
                if older and fleet.sessions.renew(older[-1], number):
                    facts.renewed.append(Renewed(number, int(fleet.terminals["id"][index]), older[-1]))


def _claims(
    batch: Batch, terminal: I64, newest: I64, fleet: Fleet, facts: Facts, apart: Apart
) -> dict[int, int]:
    """Read registrations that do not count, and give what stands for each in its session, by row. `newest` is
    the number under which each one's session goes on.
    """
    frames = batch.frames
    rows = np.sort(np.concatenate([apart.lobby, apart.unproven]))
    made: dict[int, int] = {}
    for row in rows[(frames.msg_id[rows] == REGISTER) & is_plain(frames)[rows]].tolist():
        terminal_id = int(fleet.terminals["id"][terminal[row]])
        received_us = int(batch.received_us[row])
        session = int(batch.session[row])
        if not fleet.reading.may_claim(int(terminal[row]), session, received_us):
            facts.only_counted[bucket_of(received_us, terminal_id, TOO_MANY)] += 1
            continue
        edition = E2019
        if not frames.is_2019[row]:
            edition = EDITIONS.index(registered_edition(int(frames.body_length[row])))
        fields = decode_body(REGISTER, EDITIONS[edition], frames.body(row)[:MAX_BODY])
        if isinstance(fields, Undecodable):
            facts.quarantined.append(
                quarantined(batch, terminal_id, row, reason=UNDECODABLE_BODY, detail=fields.error)
            )
            continue
        said = registration(batch, terminal_id, row, EDITIONS[edition], fields)
        facts.claims.append(Claim(int(newest[row]), said))
        made[row] = claim_of(edition)
    return made


def _quarantine(batch: Batch, terminal: I64, fleet: Fleet, facts: Facts, row: int, reason: str) -> None:
    """Keep a frame, or count it, where there are too many."""
    index, received_us = int(terminal[row]), int(batch.received_us[row])
    terminal_id = int(fleet.terminals["id"][index])
    if fleet.reading.may_keep(index, received_us):
        facts.quarantined.append(quarantined(batch, terminal_id, row, reason=reason))
    else:
        facts.only_counted[bucket_of(received_us, terminal_id, TOO_MANY)] += 1
