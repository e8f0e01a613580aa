"""The frames that are no location report and no heartbeat: few, and read one by one with the declarations.

Unknown ids and bodies that cannot be read go to quarantine with their bytes; they were answered.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from alerts.bits import EDITIONS
from protocol.edition import Edition, registered_edition
from protocol.message import MESSAGES, UP, Undecodable, decode_body
from store.quarantine import Quarantined
from store.terminals import Registration
from worker.batch import Batch
from worker.facts import Facts
from worker.fleet import E2013, E2019, Fleet
from worker.fragments import Piece, is_sensible, lost_piece

I64: TypeAlias = npt.NDArray[np.int64]
U8: TypeAlias = npt.NDArray[np.uint8]
Flags: TypeAlias = npt.NDArray[np.bool_]

HEARTBEAT, REGISTER, LOCATION, BATCH_LOCATION = 0x0002, 0x0100, 0x0200, 0x0704

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
    edition = np.where(before == E2019, np.uint8(E2013), before)
    said: dict[int, int] = dict.fromkeys(terminal[frames.is_2019 & (before != E2019)].tolist(), E2019)
    registrations = np.flatnonzero((frames.msg_id == REGISTER) & ~frames.is_2019 & ~frames.is_fragment)
    for row in registrations.tolist():
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


def read_others(batch: Batch, fleet: Fleet, terminal: I64, edition: U8, facts: Facts) -> None:
    """Read the frames that are not read as columns, in order."""
    frames = batch.frames
    is_column = np.isin(frames.msg_id, (HEARTBEAT, LOCATION, BATCH_LOCATION))
    is_assembled = (frames.msg_id == BATCH_LOCATION) & _can_be_assembled(batch)
    for row in np.flatnonzero(
        (~is_column | frames.is_fragment | (frames.cipher != 0)) & ~is_assembled
    ).tolist():
        msg_id = int(frames.msg_id[row])
        declared = MESSAGES.get(msg_id)
        reason, detail = "", ""
        if declared is None or declared.direction is not UP:
            reason = UNKNOWN_ID
        elif frames.cipher[row]:
            reason = ENCRYPTED_BODY
        elif frames.is_fragment[row]:
            reason = FRAGMENT
        else:
            body = decode_body(msg_id, EDITIONS[edition[row]], frames.body(row))
            if isinstance(body, Undecodable):
                reason, detail = UNDECODABLE_BODY, body.error
            elif msg_id == REGISTER:
                facts.registrations.append(_registration(batch, fleet, terminal, edition, row, body))
        if reason:
            facts.quarantined.append(quarantined(batch, fleet, terminal, row, reason=reason, detail=detail))


def assemble(batch: Batch, fleet: Fleet, terminal: I64, facts: Facts) -> list[tuple[int, bytes]]:
    """Put 0x0704 that came in pieces together, and give the row of the last piece with each body."""
    frames = batch.frames
    rows = np.flatnonzero((frames.msg_id == BATCH_LOCATION) & _can_be_assembled(batch))
    bodies: list[tuple[int, bytes]] = []
    for part in batch.parts:
        for row in rows[slice(*np.searchsorted(rows, (part.rows.start, part.rows.stop)))].tolist():
            piece = Piece(
                frames.plain(row),
                frames.body(row),
                int(batch.received_us[row]),
                int(batch.position[row]),
                int(batch.ordinal[row]),
            )
            body = fleet.fragments.add(
                int(terminal[row]),
                int(frames.msg_id[row]),
                int(frames.serial[row]),
                _numbers(batch, row),
                piece,
            )
            if body is not None:
                bodies.append((row, body))
        if part.tick_us is not None and fleet.fragments.messages:
            facts.quarantined += [
                lost_piece(message, piece, int(fleet.terminals["id"][message.terminal]))
                for message, piece in fleet.fragments.give_up(part.tick_us)
            ]
    return bodies


def _can_be_assembled(batch: Batch) -> Flags:
    """Say which frames are fragments whose numbers make sense, and not encrypted."""
    frames = batch.frames
    can: Flags = frames.is_fragment & (frames.cipher == 0)
    for row in np.flatnonzero(can).tolist():
        can[row] = is_sensible(*_numbers(batch, row))
    return can


def _numbers(batch: Batch, row: int) -> tuple[int, int]:
    """Give how many fragments there are and which one this is, from 1: two WORDs before the body."""
    end = int(batch.frames.body_start[row])
    total, index = batch.frames.data[end - 4 : end].view(">u2").tolist()
    return total, index


def quarantined(
    batch: Batch, fleet: Fleet, terminal: I64, row: int, *, reason: str, detail: str = ""
) -> Quarantined:
    """Give one frame of the batch as an entry of quarantine."""
    return Quarantined(
        received_us=int(batch.received_us[row]),
        reason=reason,
        raw=batch.frames.plain(row),
        position=int(batch.position[row]),
        ordinal=int(batch.ordinal[row]),
        terminal_id=int(fleet.terminals["id"][terminal[row]]),
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
