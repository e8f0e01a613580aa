"""Location reports of a whole batch as columns: 0x0200, and the reports inside 0x0704.

Offsets, widths and byte order of the 28 leading bytes come from `protocol.messages.location.LOCATION`, scaled
numbers and times from the column readings of its adapters. All editions send the same layout.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import xxhash

from protocol.columns.batch import FrameBatch
from protocol.columns.chains import HEAD, walk
from protocol.columns.dtypes import (
    F32,
    F64,
    I32,
    I64,
    U8,
    U32,
    Flags,
    column,
    gathered,
    layout_of,
    opaque,
    unsigned,
    window,
)
from protocol.columns.items import Items
from protocol.columns.times import times_us
from protocol.frame import CIPHER_BITS, FRAGMENT_BIT
from protocol.messages.location import LOCATION
from protocol.words import POSITIONED, SOUTH, WEST

LOCATION_REPORT: Final = 0x0200
BATCH_REPORT: Final = 0x0704

NOT_IN_BATCH: Final = -1
"""`batch_type` of a report that came by itself."""
NO_IO_STATE: Final = -1

SHORT_BODY: Final = "short_body"
"""Why a report is bad: fewer bytes than the fixed fields have."""
CUT_BATCH: Final = "cut_batch"
"""Why a 0x0704 is bad: it has fewer whole reports than it announces, or bytes that are none. These whole ones
are read."""

_LAYOUT: Final = layout_of(LOCATION)
_MICRODEGREES: Final = 1e6
_CORE: Final = _LAYOUT.itemsize
_BATCH_HEAD: Final = 3
"""0x0704 begins with the number of reports, WORD, and their type, BYTE."""
_MILEAGE: Final = (0x01, 4)
_MILEAGE_PER_KM: Final = 10
_IO_STATE: Final = (0x2A, 2)


class BadBody(NamedTuple):
    """A body that is no location report, or a 0x0704 in which something is none; once for each reason."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class PositionBatch:
    """Location reports as columns in human units, in order of their arrival.

    Values are as sent, whatever they say: a latitude of 116 degrees is a matter for quality verdicts, not for
    decoding. Offsets are into `data`.
    """

    data: U8
    row: I64
    """Row of the frame in its batch."""
    batch_type: I64
    """0 normal or 1 from a blind zone, as its 0x0704 says; `NOT_IN_BATCH` for a 0x0200."""
    body_start: I64
    """The report alone, also within a 0x0704."""
    body_length: I64
    alarm_bits: U32
    status_bits: U32
    lat: F64
    """Degrees, south negative, as sent: without a fix they are old or invented."""
    lon: F64
    """Degrees, west negative, as sent."""
    has_fix: Flags
    """Status bit 1: the terminal knows where it is."""
    lat_raw: U32
    """1e-6 degrees without sign, whatever the status says."""
    lon_raw: U32
    altitude_m: I32
    speed_kmh: F32
    heading_deg: I32
    reported_us: I64
    """The terminal's time in µs of UTC since 1970; `NO_TIME` where the six bytes are no time."""
    reported_raw: U8
    """`u8[n, 6]`, the time as sent: BCD, GMT+8."""
    mileage_km: F64
    """Item 0x01, NaN without."""
    io_state: I32
    """Item 0x2A, `NO_IO_STATE` without."""
    items: Items
    bad: list[BadBody]
    """What could not be read, by row of the frame."""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def items_start(self) -> I64:
        """Where the additional items begin."""
        return self.body_start + _CORE

    @property
    def items_length(self) -> I64:
        """How many bytes they have."""
        return self.body_length - _CORE

    @property
    def items_ok(self) -> Flags:
        """The chain of items ends where the body ends."""
        return self.items.is_whole

    def item(self, item_id: int) -> tuple[I64, I64]:
        """Give offset and length of an item's content for every report, -1 where there is none."""
        return self.items.find(item_id)

    def body(self, index: int) -> bytes:
        """Give one report's body: core and items."""
        start = self.body_start[index]
        return self.data[start : start + self.body_length[index]].tobytes()


def locations(batch: FrameBatch, rows: I64 | None = None) -> PositionBatch:
    """Read every location report in a batch, those inside 0x0704 included, frame by frame.

    Args:
        batch: frames of any kind
        rows: which of them to look at, and in which order; by default all whose body is complete and not
            encrypted
    """
    if rows is None:
        rows = ((batch.attributes & (FRAGMENT_BIT | CIPHER_BITS)) == 0).nonzero()[0]
    msg_id = batch.msg_id[rows]
    single = (msg_id == LOCATION_REPORT).nonzero()[0]
    several = (msg_id == BATCH_REPORT).nonzero()[0]
    alone = np.full(len(single), NOT_IN_BATCH)
    reports = _Reports(single, *_bodies(batch, rows[single]), alone)
    bad: list[BadBody] = []
    if len(several):
        inside, bad = _unpacked(batch.data, several, *_bodies(batch, rows[several]))
        reports = reports.merged(inside)
        bad = [BadBody(int(rows[each.row]), each.reason) for each in bad]
    return _positions(batch.data, reports._replace(row=rows[reports.row]), bad)


def _bodies(batch: FrameBatch, rows: I64) -> tuple[I64, I64]:
    return batch.body_start[rows], batch.body_length[rows]


def batch_locations(data: U8, row: I64, start: I64, length: I64) -> PositionBatch:
    """Read the location reports inside 0x0704 bodies, wherever these stand: fragments put together, say.

    `data` goes on for `MARGIN` bytes behind the last body.
    """
    nothing = _Reports(row[:0], row[:0], row[:0], row[:0])
    inside, bad = _unpacked(data, row, start, length)
    return _positions(data, nothing.merged(inside), bad)


def single_locations(data: U8, row: I64, start: I64, length: I64) -> PositionBatch:
    """Read location reports that stand alone, wherever that is: in an answer, or put together from fragments.

    `data` goes on for `MARGIN` bytes behind the last one.
    """
    return _positions(data, _Reports(row, start, length, np.full(len(row), NOT_IN_BATCH)), [])


def body_hashes(positions: PositionBatch) -> I64:
    """Give XXH3-64 of every report's body, as signed numbers: part of the identity of a position record."""
    hashes = np.empty(len(positions), np.int64)
    for length in np.bincount(positions.body_length).nonzero()[0].tolist():
        rows = (positions.body_length == length).nonzero()[0]
        bodies = window(positions.data, opaque(length))[positions.body_start[rows]].tolist()
        hashes[rows] = np.frombuffer(b"".join(map(xxhash.xxh3_64_digest, bodies)), ">i8")
    return hashes


class _Reports(NamedTuple):
    """Where reports stand; the columns of `PositionBatch` of the same names."""

    row: I64
    body_start: I64
    body_length: I64
    batch_type: I64

    def take(self, which: I64 | Flags) -> "_Reports":
        """Give some of them."""
        return _Reports(*(values[which] for values in self))

    def merged(self, others: "_Reports") -> "_Reports":
        """Give both, by row."""
        both = _Reports(*(np.concatenate((mine, others[k])) for k, mine in enumerate(self)))
        return both.take(both.row.argsort(kind="stable"))


def _unpacked(data: U8, row: I64, start: I64, length: I64) -> tuple[_Reports, list[BadBody]]:
    """Find the reports inside 0x0704 bodies, body after body in steps."""
    long_enough = length >= _BATCH_HEAD
    bad = [BadBody(index, SHORT_BODY) for index in row[~long_enough].tolist()]
    row, start, length = row[long_enough], start[long_enough], length[long_enough]
    announced = window(data, unsigned(2))[start]
    chain = walk(data, start + _BATCH_HEAD, length - _BATCH_HEAD, has_word_lengths=True)
    is_cut = ~chain.is_whole | (np.bincount(chain.body, minlength=len(row)) < announced)
    bad += [BadBody(index, CUT_BATCH) for index in row[is_cut].tolist()]
    batch_type = data[start[chain.body] + _BATCH_HEAD - 1].astype(np.int64)
    return _Reports(row[chain.body], chain.head + HEAD, chain.length, batch_type), bad


def _positions(data: U8, reports: _Reports, bad: list[BadBody]) -> PositionBatch:
    """Read the fields of reports."""
    is_short = reports.body_length < _CORE
    if is_short.any():
        bad = bad + [BadBody(row, SHORT_BODY) for row in np.unique(reports.row[is_short]).tolist()]
        reports = reports.take(~is_short)
    core = gathered(data, reports.body_start, _LAYOUT)
    status = core["status"].astype(np.uint32)
    lat_raw, lon_raw = core["latitude_raw"].astype(np.uint32), core["longitude_raw"].astype(np.uint32)
    items = Items.read(data, reports.body_start + _CORE, reports.body_length - _CORE)
    mileage_km = np.full(len(core), np.nan)
    with_mileage, mileage = items.numbers(*_MILEAGE)
    mileage_km[with_mileage] = mileage / _MILEAGE_PER_KM
    io_state = np.full(len(core), NO_IO_STATE, np.int32)
    with_io_state, states = items.numbers(*_IO_STATE)
    io_state[with_io_state] = states
    return PositionBatch(
        data=data,
        **reports._asdict(),
        alarm_bits=core["alarm"].astype(np.uint32),
        status_bits=status,
        lat=_degrees(lat_raw, status, SOUTH),
        lon=_degrees(lon_raw, status, WEST),
        has_fix=(status & POSITIONED) != 0,
        lat_raw=lat_raw,
        lon_raw=lon_raw,
        altitude_m=core["altitude_m"].astype(np.int32),
        speed_kmh=column(LOCATION.speed_kmh, core["speed_kmh"]).astype(np.float32),
        heading_deg=core["direction_deg"].astype(np.int32),
        reported_us=times_us(core["time"]),
        reported_raw=core["time"],
        mileage_km=mileage_km,
        io_state=io_state,
        items=items,
        bad=bad,
    )


def _degrees(microdegrees: U32, status: U32, negative: int) -> F64:
    """Give degrees, negative where that bit of the status says so."""
    degrees = microdegrees / _MICRODEGREES
    np.negative(degrees, out=degrees, where=(status & negative) != 0)
    return degrees
