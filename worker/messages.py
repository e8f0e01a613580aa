"""The messages that are no location report and no heartbeat: few, and read one by one with the declarations.

What has no table of its own is kept as it is (`store.messages`). Unknown ids and bodies that cannot be read
go to quarantine with their bytes; they were answered.
"""

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from alerts.bits import EDITIONS
from protocol.columns import FrameBatch
from protocol.edition import Edition, registered_edition
from protocol.frame import CIPHER_BITS, FRAGMENT_BIT
from protocol.message import MESSAGES, UP, Undecodable, decode_body
from protocol.reassembly import Status, fingerprint_of, is_sensible, key_of
from store.messages import Message
from store.quarantine import Quarantined
from store.terminals import Registration
from worker.batch import Batch
from worker.facts import Facts
from worker.fleet import E2013, E2019, Fleet
from worker.fragments import Piece, lost
from worker.media import MEDIUM, medium_of

I64: TypeAlias = npt.NDArray[np.int64]
U8: TypeAlias = npt.NDArray[np.uint8]
Flags: TypeAlias = npt.NDArray[np.bool_]

TERMINAL_REPLY, HEARTBEAT, DEREGISTER, ASK_TIME, ASK_FRAGMENTS = range(0x0001, 0x0006)
REGISTER, AUTHENTICATE = 0x0100, 0x0102
LOCATION, BATCH_LOCATION = 0x0200, 0x0704
LOCATION_ANSWERS: Final = (0x0201, 0x0500)
"""Answers to commands that hold a location report, behind the serial of the command where they have one."""

NOT_KEPT: Final = {
    *(TERMINAL_REPLY, HEARTBEAT, DEREGISTER, ASK_TIME, ASK_FRAGMENTS, REGISTER, AUTHENTICATE),
    *(LOCATION, BATCH_LOCATION, *LOCATION_ANSWERS),
}
"""Ids whose meaning is elsewhere: positions, registrations, links, or nothing beyond the answer. The code in
0x0102 is nobody's business.
"""

_IS_COLUMN: Final = np.zeros(1 << 16, np.bool_)
_IS_COLUMN[[HEARTBEAT, LOCATION, BATCH_LOCATION]] = True
"""By id: read with all others of a batch at once."""

_NOT_PLAIN: Final = FRAGMENT_BIT | CIPHER_BITS

UNKNOWN_ID = "unknown_id"
UNDECODABLE_BODY = "undecodable_body"
ENCRYPTED_BODY = "encrypted_body"
FRAGMENT = "fragment"
"""Reasons of quarantine for frames that were answered; those for bytes that are no frame are in
`protocol.errors`.
"""


def follow_editions(batch: Batch, fleet: Fleet, terminal: I64, facts: Facts) -> U8:
    """Give the edition of every frame as a number, and remember it for the terminal.

    The header says 2019, else the layout of the last registration counts, else it is 2013.
    """
    frames, known = batch.frames, fleet.terminals["edition"]
    before = known[terminal]
    edition: U8 = np.minimum(before, np.uint8(E2013))
    said: dict[int, int] = dict.fromkeys(terminal[frames.is_2019 & (before != E2019)].tolist(), E2019)
    registrations = (frames.msg_id == REGISTER).nonzero()[0]
    for row in registrations[~(frames.is_2019 | frames.is_fragment)[registrations]].tolist():
        index = int(terminal[row])
        number = EDITIONS.index(registered_edition(int(frames.body_length[row])))
        later = np.flatnonzero(terminal[row:] == index) + row
        edition[later] = number
        said[index] = E2019 if frames.is_2019[later].any() else number
    edition[frames.is_2019] = E2019
    for index, number in said.items():
        if known[index] != number:
            known[index] = number
            facts.editions[int(fleet.terminals["id"][index])] = EDITIONS[number].value
    return edition


class Whole(NamedTuple):
    """A message of which the last piece has come, perhaps its only one."""

    row: int
    """Of that piece."""
    body: bytes
    pieces: list[Piece]
    serial: int
    """Of the first piece."""


class Report(NamedTuple):
    """Where a location report stands in the body of an answer."""

    row: int
    offset: int


def read_others(
    batch: Batch, fleet: Fleet, terminal: I64, edition: U8, facts: Facts, whole: list[Whole]
) -> list[Report]:
    """Read what is not read as columns, in order, and give the location reports in it."""
    frames = batch.frames
    put_together = {each.row: each for each in whole}
    reports: list[Report] = []
    for row in others(batch):
        if row not in put_together and _is_piece(batch, row):
            continue
        msg_id = int(frames.msg_id[row])
        reason, detail = _unreadable(batch, row) if row not in put_together else "", ""
        if not reason and msg_id not in (LOCATION, BATCH_LOCATION):
            message = put_together.get(row) or Whole(row, frames.body(row), [], int(frames.serial[row]))
            body = decode_body(msg_id, EDITIONS[edition[row]], message.body)
            if isinstance(body, Undecodable):
                reason, detail = UNDECODABLE_BODY, body.error
            elif msg_id == REGISTER:
                facts.registrations.append(_registration(batch, fleet, terminal, edition, row, body))
            elif msg_id in LOCATION_ANSWERS:
                reports.append(Report(row, 2 if "ack_serial" in body else 0))
            elif msg_id not in NOT_KEPT:
                kept = _kept(batch, fleet, terminal, edition, message)
                if msg_id == MEDIUM:
                    facts.media.append(medium_of(kept, body))
                else:
                    facts.messages.append(kept)
        terminal_id = int(fleet.terminals["id"][terminal[row]])
        if reason and row in put_together:
            pieces = put_together[row].pieces
            facts.quarantined += [piece.quarantined(reason, detail, terminal_id) for piece in pieces]
        elif reason:
            facts.quarantined.append(quarantined(batch, terminal_id, row, reason=reason, detail=detail))
    return reports


def others(batch: Batch) -> list[int]:
    """Give the frames that are not read as columns."""
    frames = batch.frames
    rows: list[int] = np.flatnonzero(~(_IS_COLUMN[frames.msg_id] & is_plain(frames))).tolist()
    return rows


def is_plain(frames: FrameBatch) -> Flags:
    """Say which bodies are complete and not encrypted."""
    plain: Flags = (frames.attributes & _NOT_PLAIN) == 0
    return plain


def _unreadable(batch: Batch, row: int) -> str:
    """Say why the body of a frame is not even tried; empty where it is."""
    declared = MESSAGES.get(int(batch.frames.msg_id[row]))
    if declared is None or declared.direction is not UP:
        return UNKNOWN_ID
    attributes = int(batch.frames.attributes[row])
    if attributes & CIPHER_BITS:
        return ENCRYPTED_BODY
    return FRAGMENT if attributes & FRAGMENT_BIT else ""


def assemble(batch: Batch, fleet: Fleet, terminal: I64, facts: Facts) -> list[Whole]:
    """Put messages that came in pieces together, and leave out what was there already."""
    rows = np.array([row for row in others(batch) if _is_piece(batch, row)], np.int64)
    uploads = fleet.fragments.uploads
    whole: list[Whole] = []
    for part in batch.parts:
        forgotten = []
        for row in rows[slice(*np.searchsorted(rows, (part.rows.start, part.rows.stop)))].tolist():
            msg_id, serial = int(batch.frames.msg_id[row]), int(batch.frames.serial[row])
            piece, numbered = _piece(batch, row), _numbers(batch, row)
            key = key_of(int(terminal[row]), msg_id, serial, numbered)
            taken = uploads.take(
                key,
                numbered[1],
                piece,
                fingerprint=fingerprint_of(piece.body),
                size=len(piece.plain),
                at_us=piece.at_us,
            )
            forgotten += taken.forgotten
            if taken.status is Status.COMPLETING:
                body = b"".join(each.body for each in taken.whole)
                whole.append(Whole(row, body, taken.whole, key.number))
        if part.tick_us is not None:
            forgotten += uploads.expire(part.tick_us)
        for each in forgotten:
            facts.quarantined += lost(each, int(fleet.terminals["id"][each.upload.key.terminal]))
    return whole


def gather(batch: Batch, terminal: I64, fleet: Fleet) -> None:
    """Hold the pieces of a batch of which everything else is known already."""
    assemble(batch, fleet, terminal, Facts())


def _piece(batch: Batch, row: int) -> Piece:
    frames = batch.frames
    return Piece(
        frames.plain(row),
        int(frames.body_start[row] - frames.start[row]),
        int(batch.received_us[row]),
        *batch.place(row),
    )


def _is_piece(batch: Batch, row: int) -> bool:
    """Say whether a frame is a fragment that can be put together, or a message that is kept as it is.

    Not one that is encrypted, of an id that we do not know, or numbered without sense.
    """
    if not _is_fragment(batch, row) and int(batch.frames.msg_id[row]) in NOT_KEPT:
        return False
    return _unreadable(batch, row) in ("", FRAGMENT) and is_sensible(*_numbers(batch, row))


def _is_fragment(batch: Batch, row: int) -> bool:
    return bool(batch.frames.attributes[row] & FRAGMENT_BIT)


def _kept(batch: Batch, fleet: Fleet, terminal: I64, edition: U8, message: Whole) -> Message:
    row = message.row
    log_id, position, ordinal = batch.place(row)
    return Message(
        terminal_id=int(fleet.terminals["id"][terminal[row]]),
        received_us=int(batch.received_us[row]),
        msg_id=int(batch.frames.msg_id[row]),
        serial=message.serial,
        edition=EDITIONS[edition[row]].value,
        body=message.body,
        log_id=log_id,
        position=position,
        ordinal=ordinal,
    )


def _numbers(batch: Batch, row: int) -> tuple[int, int]:
    """Give how many fragments there are and which one this is, from 1: two WORDs before the body."""
    if not _is_fragment(batch, row):
        return 1, 1
    end = int(batch.frames.body_start[row])
    total, index = batch.frames.data[end - 4 : end].view(">u2").tolist()
    return total, index


def quarantined(batch: Batch, terminal_id: int, row: int, *, reason: str, detail: str = "") -> Quarantined:
    """Give one frame of the batch as an entry of quarantine."""
    log_id, position, ordinal = batch.place(row)
    return Quarantined(
        received_us=int(batch.received_us[row]),
        reason=reason,
        raw=batch.frames.plain(row),
        log_id=log_id,
        position=position,
        ordinal=ordinal,
        terminal_id=terminal_id,
        msg_id=int(batch.frames.msg_id[row]),
        detail=detail,
    )


def _registration(
    batch: Batch, fleet: Fleet, terminal: I64, edition: U8, row: int, body: dict[str, Any]
) -> Registration:
    said: Edition = EDITIONS[edition[row]]
    return Registration(
        terminal_id=int(fleet.terminals["id"][terminal[row]]),
        at_us=int(batch.received_us[row]),
        edition=said.value,
        province_id=body["province_id"],
        city_id=body["city_id"],
        manufacturer_id=body["manufacturer_id"],
        model=body["terminal_model"],
        maker_terminal_id=body["terminal_id"],
        plate=body.get("plate_number") or "",
        plate_color=body["plate_color"],
    )
