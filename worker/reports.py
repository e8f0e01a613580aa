"""Location reports of a batch as columns, whatever frame brought them: 0x0200, or one of several in a 0x0704.

Everything here follows from the bytes and their receive time alone. What depends on what the terminal said
before (is it late, does it raise an alarm) is decided in `worker.digest`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from alerts.objects import crossed_places, overspeed_places, timed_sections
from protocol.columns import PositionBatch, body_hashes
from store.positions import HASH_COLLISION, SEARCH_BACK, PositionRows
from store.quality import judge
from store.quarantine import Quarantined
from worker.batch import Batch
from worker.fleet import FRAME_BYTES, Fleet
from worker.fragments import Piece
from worker.messages import quarantined
from worker.runs import Runs, newest

I64: TypeAlias = npt.NDArray[np.int64]
I32: TypeAlias = npt.NDArray[np.int32]
F64: TypeAlias = npt.NDArray[np.float64]
F32: TypeAlias = npt.NDArray[np.float32]
U32: TypeAlias = npt.NDArray[np.uint32]
U8: TypeAlias = npt.NDArray[np.uint8]
Flags: TypeAlias = npt.NDArray[np.bool_]
Source: TypeAlias = Callable[[int], list[Quarantined]]
"""Gives what brought a position, by its row."""

_SEARCH_BACK_US: Final = int(SEARCH_BACK.total_seconds() * 1e6)
BLIND_ZONE = 1
"""Type of a 0x0704 (位置数据类型) whose reports were stored while there was no network."""

OVERSPEED_ITEM, CROSSED_ITEM, SECTION_ITEM = 0x11, 0x12, 0x13


@dataclass(frozen=True, slots=True, eq=False)
class Reports:
    """One element per location report, by terminal and in order of arrival. Times are µs since 1970."""

    row: I64
    """The frame that brought it, as row of the batch."""
    received_us: I64
    reported_us: I64
    placed_us: I64
    reported_raw: U8
    is_backfill: Flags
    """From the blind zone: late by its own word."""
    moves_forward: Flags
    """Its clock is good enough for it to be the terminal's newest."""
    quality: I32
    body_hash: I64
    lat: F64
    lon: F64
    has_fix: Flags
    speed_kmh: F32
    heading_deg: I32
    altitude_m: I32
    alarm_bits: U32
    status_bits: U32
    mileage_km: F64
    io_state: I32
    overspeed_place: I64
    crossed_place: I64
    timed_section: I64
    items_start: I64
    items_length: I64

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: npt.NDArray[Any] | slice) -> "Reports":
        """Give some of the reports."""
        return Reports(*(getattr(self, each.name)[chosen] for each in fields(self)))


def read_reports(batch: Batch, found: PositionBatch) -> Reports:
    """Judge the location reports that `protocol.columns` found in the batch."""
    received_us = batch.received_us[found.row]
    verdict = judge(
        found.reported_us,
        received_us,
        lat=found.lat,
        lon=found.lon,
        has_fix=found.has_fix,
        speed_kmh=found.speed_kmh,
        heading_deg=found.heading_deg,
        altitude_m=found.altitude_m,
        items_ok=found.items_ok,
    )
    return Reports(
        row=found.row,
        received_us=received_us,
        reported_us=found.reported_us,
        placed_us=verdict.placed_us,
        reported_raw=found.reported_raw,
        is_backfill=found.batch_type == BLIND_ZONE,
        moves_forward=verdict.moves_forward,
        quality=verdict.quality,
        body_hash=body_hashes(found),
        lat=found.lat,
        lon=found.lon,
        has_fix=found.has_fix,
        speed_kmh=found.speed_kmh,
        heading_deg=found.heading_deg,
        altitude_m=found.altitude_m,
        alarm_bits=found.alarm_bits,
        status_bits=found.status_bits,
        mileage_km=found.mileage_km,
        io_state=found.io_state,
        overspeed_place=overspeed_places(found.data, *found.item(OVERSPEED_ITEM)),
        crossed_place=crossed_places(found.data, *found.item(CROSSED_ITEM)),
        timed_section=timed_sections(found.data, *found.item(SECTION_ITEM)),
        items_start=found.items_start,
        items_length=found.items_length,
    )


def joined(first: Reports, second: Reports, terminal: I64) -> Reports:
    """Give the reports of both by terminal and in order of arrival. `terminal` is that of every frame."""
    if not len(second):
        return first
    columns = [
        np.concatenate([getattr(first, each.name), getattr(second, each.name)]) for each in fields(first)
    ]
    both = Reports(*columns)
    return both.take(np.lexsort((both.row, terminal[both.row])))


def position_rows(
    batch: Batch, reports: Reports, *, terminal_id: I32, late: Flags, repeated: Flags, searched: Flags
) -> PositionRows:
    """Give the rows for `positions`. Each column but the reports' own has one element per report."""
    frames, row = batch.frames, reports.row
    return PositionRows(
        terminal_id=terminal_id,
        placed_us=reports.placed_us,
        reported_us=reports.reported_us,
        reported_raw=reports.reported_raw,
        received_us=reports.received_us,
        last_received_us=reports.received_us,
        body_hash=reports.body_hash,
        copies=np.ones(len(reports), np.int32),
        lat=reports.lat,
        lon=reports.lon,
        speed_kmh=reports.speed_kmh,
        heading_deg=reports.heading_deg,
        altitude_m=reports.altitude_m,
        alarm_bits=reports.alarm_bits,
        status_bits=reports.status_bits,
        mileage_km=reports.mileage_km,
        msg_id=frames.msg_id[row],
        serial=frames.serial[row],
        quality=reports.quality,
        authenticated=batch.authenticated[row],
        late=late,
        repeated=repeated,
        searched=searched,
        items_start=reports.items_start,
        items_length=reports.items_length,
        data=frames.data,
    )


def with_bodies(data: U8, bodies: list[bytes]) -> tuple[U8, I64]:
    """Append bodies to the data of a batch, and give where each begins. What must follow the last byte
    follows.
    """
    lengths = np.array([len(body) for body in bodies], np.int64)
    longer = np.concatenate(
        [data, np.frombuffer(b"".join(bodies), np.uint8), np.zeros(FRAME_BYTES, np.uint8)]
    )
    return longer, len(data) + np.cumsum(lengths) - lengths


def remember_latest(fleet: Fleet, reports: Reports, reporter: I64, live: I64) -> None:
    """Keep the newest live report of each terminal; `live` is by terminal.

    A live report with a wrong clock came over the link just now, so it says where the vehicle is; only its
    time is not kept.
    """
    latest = fleet.terminals
    for chosen, names in (
        (live, ("received_us", "speed_kmh", "heading_deg", "altitude_m", "alarm_bits", "status_bits")),
        (live[reports.moves_forward[live]], ("reported_us",)),
        (live[reports.has_fix[live]], ("lat", "lon")),
        (live[~np.isnan(reports.mileage_km[live])], ("mileage_km",)),
    ):
        rows = newest(reporter, chosen)
        for name in names:
            latest[name][reporter[rows]] = getattr(reports, name)[rows]
        if "lat" in names:
            latest["fix_us"][reporter[rows]] = reports.placed_us[rows]


def rows_of(fleet: Fleet, batch: Batch, reports: Reports, runs: Runs, late: Flags) -> PositionRows:
    """Give the rows for `positions`, and remember whose clock is wrong. `runs` are of the terminals of the
    reports.
    """
    reporter = runs.key
    is_wrong = reports.placed_us != reports.reported_us
    clock_wrong = fleet.terminals["clock_wrong_us"]
    np.maximum.at(clock_wrong, reporter[is_wrong], reports.received_us[is_wrong])
    return position_rows(
        batch,
        reports,
        terminal_id=fleet.terminals["id"][reporter],
        late=late,
        repeated=fleet.are_repeated(runs, reports.body_hash),
        searched=reports.received_us - np.maximum(clock_wrong[reporter], 0) < _SEARCH_BACK_US,
    )


def source_of(
    batch: Batch, rows: PositionRows, frames: I64, pieces: dict[int, list[Piece]], report: int
) -> list[Quarantined]:
    """Give the frame that brought a report whose key another one has, or the pieces in which it came."""
    row, terminal_id = int(frames[report]), int(rows.terminal_id[report])
    detail = f"another report of {rows.reported_raw[report].tobytes().hex()} has its short hash"
    if pieces.get(row):
        return [piece.quarantined(HASH_COLLISION, detail, terminal_id) for piece in pieces[row]]
    return [quarantined(batch, terminal_id, row, reason=HASH_COLLISION, detail=detail)]
