"""The messages that are no location report and no heartbeat: few, and read one by one with the declarations.

What has no table of its own is kept as it is (`store.messages`). Unknown ids and bodies that cannot be read
go to quarantine with their bytes; they were answered.

Reading a body costs a hundred times what keeping it does. So what gives no facts is read only to know whether
it can be, and only as far as that is cheap.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from alerts.bits import EDITIONS
from protocol.columns import FrameBatch
from protocol.edition import Edition, registered_edition
from protocol.frame import CIPHER_BITS, FRAGMENT_BIT, MAX_BODY
from protocol.message import MESSAGES, UP, Undecodable, decode_body
from protocol.reassembly import Forgotten, Key, Status, is_sensible, key_of
from store.binary import stable_order
from store.media import Medium
from store.messages import Message
from store.quarantine import Bucket, Quarantined, bucket_of
from store.terminals import Registration
from worker.batch import Batch
from worker.budget import Allowance
from worker.facts import Facts
from worker.fleet import E2011, E2013, E2019, Fleet
from worker.fragments import DAY_US, Hold, Piece, held, lost
from worker.media import MEDIUM, medium_of
from worker.reading import TOO_MANY, Asked
from worker.runs import Runs

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
MEDIA_QUOTA = "media_quota"
"""Reasons of quarantine for frames that were answered; those for bytes that are no frame are in
`protocol.errors`.
"""

CHECKED: Final = Allowance(1_000_000, each=4 << 10, together=64 << 10)
"""Of messages that give no facts so many bytes are read a second, to know whether they can be: 10 µs each at
worst. What comes above that is kept all the same."""

LEAST_MEDIUM: Final = 4 << 10
"""Bytes that a medium counts for at least: its block on the disk."""

_NOTHING: Final = -1
_REPORT_BYTES: Final = 28
_SERIAL_BYTES: Final = 2
_PACKET_NUMBERS: Final = slice(8, 12), slice(12, 16)
_PACKET_HEAD: Final = 16
"""Where 0x0801 of 2011 counts its packets, and where the content begins."""


def follow_editions(
    batch: Batch,
    fleet: Fleet,
    terminal: I64,
    facts: Facts,
    rows: Sequence[int],
    claimed: Mapping[int, int] = MappingProxyType({}),
) -> U8:
    """Give the edition of every frame as a number, and remember it for the terminal.

    The header says 2019, else the layout of the last registration among `rows` counts, else it is 2013.
    `claimed` says of rows which edition a registration had that counts from there on.
    """
    frames, known = batch.frames, fleet.terminals["edition"]
    before = known[terminal]
    edition: U8 = np.minimum(before, np.uint8(E2013))
    said: dict[int, int] = dict.fromkeys(terminal[frames.is_2019 & (before != E2019)].tolist(), E2019)
    is_registration = np.zeros(len(terminal), np.bool_)
    is_registration[rows] = True
    is_registration &= (frames.msg_id == REGISTER) & ~(frames.is_2019 | frames.is_fragment)
    if claimed or is_registration.any():
        order = stable_order(terminal)
        lengths, which = np.unique(frames.body_length[is_registration], return_inverse=True)
        numbers = [EDITIONS.index(registered_edition(length)) for length in lengths.tolist()]
        told = np.full(len(terminal), _NOTHING, np.int64)
        told[list(claimed)] = list(claimed.values())
        told[is_registration] = np.array(numbers, np.int64)[which]
        # The last registration up to every frame: its place, if it is one of this terminal's.
        runs = Runs.of(terminal[order])
        place = np.maximum.accumulate(np.where(told[order] != _NOTHING, np.arange(len(order)), _NOTHING))
        is_told = place >= runs.spread(runs.first)
        edition[order[is_told]] = told[order][place[is_told]]
        since_2019 = np.maximum.accumulate(np.where(frames.is_2019[order], np.arange(len(order)), _NOTHING))
        for last in runs.last[is_told[runs.last]].tolist():
            is_new_now = since_2019[last] > place[last]
            said[int(terminal[order[last]])] = E2019 if is_new_now else int(told[order[place[last]]])
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
    is_joined: bool = False
    """The pieces were packets of a medium of 2011."""


class Assembled(NamedTuple):
    """What became of the pieces of a batch."""

    whole: list[Whole]
    pieces: Set[int]
    """Rows of which nothing else is to be said."""


class Report(NamedTuple):
    """Where a location report stands in the body of an answer."""

    row: int
    offset: int


def read_others(
    batch: Batch,
    fleet: Fleet,
    terminal: I64,
    edition: U8,
    facts: Facts,
    assembled: Assembled,
    rows: Sequence[int],
    *,
    media_bytes_per_day: int,
) -> list[Report]:
    """Read these of the frames that are not read as columns, in order, and give the location reports in them.
    Media of a terminal that are more than `media_bytes_per_day` go to quarantine.
    """
    frames = batch.frames
    put_together = {each.row: each for each in assembled.whole}
    reports: list[Report] = []
    for row in rows:
        if row in assembled.pieces and row not in put_together:
            continue
        reason, detail = _unreadable(batch, row) if row not in put_together else "", ""
        if not reason:
            message = put_together.get(row) or Whole(row, frames.body(row), [], int(frames.serial[row]))
            reason, detail = _read(
                batch, fleet, terminal, edition, facts, message, reports, media_bytes_per_day
            )
        terminal_id = int(fleet.terminals["id"][terminal[row]])
        if reason and row in put_together:
            pieces = put_together[row].pieces
            facts.quarantined += [piece.quarantined(reason, detail, terminal_id) for piece in pieces]
        elif reason:
            facts.quarantined.append(quarantined(batch, terminal_id, row, reason=reason, detail=detail))
    return reports


def _read(
    batch: Batch,
    fleet: Fleet,
    terminal: I64,
    edition: U8,
    facts: Facts,
    message: Whole,
    reports: list[Report],
    media_bytes_per_day: int,
) -> tuple[str, str]:
    """Read one message; give why it goes to quarantine, empty where it does not, and a detail."""
    row, body = message.row, message.body
    msg_id, said = int(batch.frames.msg_id[row]), EDITIONS[edition[row]]
    if msg_id in (LOCATION, BATCH_LOCATION):
        return "", ""
    if msg_id in LOCATION_ANSWERS:
        offset = _report_offset(msg_id, said, body)
        if isinstance(offset, Undecodable):
            return UNDECODABLE_BODY, offset.error
        reports.append(Report(row, offset))
        return "", ""
    kept = _kept(batch, fleet, terminal, edition, message)
    if msg_id in (REGISTER, MEDIUM) or _is_checked(fleet, int(terminal[row]), kept):
        fields = decode_body(msg_id, said, body[:MAX_BODY] if msg_id == REGISTER else body)
        if isinstance(fields, Undecodable):
            return UNDECODABLE_BODY, fields.error
        if msg_id == REGISTER:
            terminal_id = int(fleet.terminals["id"][terminal[row]])
            registered = registration(batch, terminal_id, row, said, fields)
            facts.registrations.append((int(batch.number[row]), registered))
        elif msg_id == MEDIUM:
            medium = medium_of(kept, fields, is_joined=message.is_joined)
            if not _has_room(fleet, int(terminal[row]), medium, media_bytes_per_day):
                return MEDIA_QUOTA, f"more than {media_bytes_per_day} bytes in a day, or too many at once"
            facts.media.append(medium)
    if msg_id not in NOT_KEPT and msg_id != MEDIUM:
        facts.messages.append(kept)
    return "", ""


def _report_offset(msg_id: int, edition: Edition, body: bytes) -> int | Undecodable:
    """Say where the location report begins in an answer: behind a serial, or where there is none at once.

    Only what every report has is read here; the items are read as columns.
    """
    fields = decode_body(msg_id, edition, body[: _SERIAL_BYTES + _REPORT_BYTES])
    if isinstance(fields, Undecodable):
        fields = decode_body(msg_id, edition, body[:_REPORT_BYTES])
    if isinstance(fields, Undecodable):
        return fields
    return _SERIAL_BYTES if "ack_serial" in fields else 0


def _has_room(fleet: Fleet, terminal: int, medium: Medium, media_bytes_per_day: int) -> bool:
    """Say whether a terminal may have another medium stored today."""
    if not fleet.reading.may_store(terminal, medium.received_us):
        return False
    allowance = Allowance(DAY_US, each=media_bytes_per_day, together=sys.maxsize)
    size = max(len(medium.content), LEAST_MEDIUM)
    return fleet.stored.allows(allowance, terminal, size, medium.received_us)


def _is_checked(fleet: Fleet, terminal: int, message: Message) -> bool:
    """Say whether a message that gives no facts is read all the same, to know whether it can be."""
    size = len(message.body)
    return size <= MAX_BODY and fleet.checked.allows(CHECKED, terminal, size, message.received_us)


def others(batch: Batch) -> list[int]:
    """Give the frames that are not read as columns."""
    frames = batch.frames
    rows: list[int] = np.flatnonzero(~(_IS_COLUMN[frames.msg_id] & is_plain(frames))).tolist()
    return rows


def within_allowance(batch: Batch, fleet: Fleet, terminal: I64) -> tuple[list[int], Counter[Bucket]]:
    """Choose which of the frames that are not read as columns are read at all; count those that are not."""
    rows = others(batch)
    columns = (
        rows,
        batch.frames.msg_id[rows].tolist(),
        batch.frames.is_fragment[rows].tolist(),
        terminal[rows].tolist(),
        batch.received_us[rows].tolist(),
    )
    read: list[int] = []
    left: Counter[Bucket] = Counter()
    for asked in map(Asked, *columns):
        if fleet.reading.allows(asked):
            read.append(asked.row)
        else:
            terminal_id = int(fleet.terminals["id"][asked.terminal])
            left[bucket_of(asked.received_us, terminal_id, TOO_MANY)] += 1
    return read, left


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


def assemble(
    batch: Batch,
    fleet: Fleet,
    terminal: I64,
    edition: U8,
    facts: Facts,
    rows: Sequence[int],
) -> Assembled:
    """Put messages together that came in pieces in these frames, and leave out what was there already."""
    rows = [row for row in rows if _may_be_piece(batch, row)]
    numbered = np.array(rows, np.int64)
    whole: list[Whole] = []
    for part in batch.parts:
        forgotten: list[Forgotten[Piece]] = []
        for row in numbered[slice(*np.searchsorted(numbered, (part.rows.start, part.rows.stop)))].tolist():
            numbers = _numbers(batch, row, edition)
            completed, given_up = _take(batch, fleet, int(terminal[row]), row, numbers, facts)
            whole += completed
            forgotten += given_up
        if part.tick_us is not None:
            forgotten += fleet.fragments.expire(part.tick_us)
        for each in forgotten:
            for piece in each.pieces:
                facts.pieces.leave(piece.place)
            facts.quarantined += lost(each, int(fleet.terminals["id"][each.upload.key.terminal]))
    return Assembled(whole, set(rows))


def _take(
    batch: Batch, fleet: Fleet, terminal: int, row: int, numbers: "_Numbers", facts: Facts
) -> tuple[list[Whole], list[Forgotten[Piece]]]:
    """Take a piece; give the message if it is whole now, and what was given up for it."""
    piece = _piece(batch, row)
    key = Key(terminal, int(batch.frames.msg_id[row]), numbers.number, numbers.total)
    hold = Hold.PACKETS if numbers.is_packet else Hold.UPLOADS
    taken = fleet.fragments.take(hold, key, numbers.place, piece)
    if taken.status is not Status.REPEATED and key.total > 1:
        terminal_id = int(fleet.terminals["id"][terminal])
        facts.pieces.come(held(hold, key, numbers.place, piece, terminal_id))
    if taken.status is not Status.COMPLETING:
        return [], taken.forgotten
    if key.total > 1:
        for each in taken.whole:
            facts.pieces.leave(each.place)
    serial = int(batch.frames.serial[row]) if numbers.is_packet else key.number
    body = _joined(taken.whole, is_packet=numbers.is_packet)
    return [Whole(row, body, taken.whole, serial, numbers.is_packet)], taken.forgotten


def _joined(pieces: list[Piece], *, is_packet: bool) -> bytes:
    """Give the body of all pieces. Each packet of a medium has the head of its own."""
    if not is_packet:
        return b"".join(each.body for each in pieces)
    return pieces[-1].body[:_PACKET_HEAD] + b"".join(each.body[_PACKET_HEAD:] for each in pieces)


def _piece(batch: Batch, row: int) -> Piece:
    frames = batch.frames
    return Piece(
        frames.plain(row),
        int(frames.body_start[row] - frames.start[row]),
        int(batch.received_us[row]),
        *batch.place(row),
    )


def _may_be_piece(batch: Batch, row: int) -> bool:
    """Say whether a frame is a fragment that can be put together, or a message that is kept as it is.

    Not one that is encrypted, of an id that we do not know, or numbered without sense.
    """
    if not _is_fragment(batch, row):
        return int(batch.frames.msg_id[row]) not in NOT_KEPT and not _unreadable(batch, row)
    return _unreadable(batch, row) == FRAGMENT and is_sensible(*_header_numbers(batch, row))


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


class _Numbers(NamedTuple):
    """What is in common to the pieces of a message, and which one of them this is."""

    number: int
    total: int
    place: int
    """From 1."""
    is_packet: bool


def _numbers(batch: Batch, row: int, edition: U8) -> _Numbers:
    """Give the numbers in the header, or those in the body of a packet; a message in one piece is 1 of 1."""
    serial, msg_id = int(batch.frames.serial[row]), int(batch.frames.msg_id[row])
    if _is_fragment(batch, row):
        total, index = _header_numbers(batch, row)
        return _Numbers(key_of(0, msg_id, serial, (total, index)).number, total, index, False)
    if msg_id == MEDIUM and edition[row] == E2011:
        body = batch.frames.body(row)
        total, index = (int.from_bytes(body[place]) for place in _PACKET_NUMBERS)
        if len(body) >= _PACKET_HEAD and total > 1 and is_sensible(total, index):
            return _Numbers(int.from_bytes(body[:4]), total, index, True)
    return _Numbers(serial, 1, 1, False)


def _header_numbers(batch: Batch, row: int) -> tuple[int, int]:
    """Give how many fragments there are and which one this is, from 1: two WORDs before the body."""
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


def registration(
    batch: Batch, terminal_id: int, row: int, said: Edition, body: Mapping[str, Any]
) -> Registration:
    """Give what a 0x0100 of this edition says."""
    return Registration(
        terminal_id=terminal_id,
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
