"""Where an alarm bit applies: the area, route or section that an additional item names, as one number per
report.

Overspeed (0x11), entering and leaving (0x12) and section times (0x13) say which place they are about, and a
place is part of the key of an alarm: speeding in area 5 and speeding in area 6 are two alarms. A code is an
i64 so that reports stay columns; 0 means that the report names no place. `object_name` gives the text that
the database keeps.

Source: JT/T 808-2013 tables 28 to 30.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

_WHAT_SHIFT: Final = 40
_KIND_SHIFT: Final = 32
_ID_BITS: Final = (1 << _KIND_SHIFT) - 1

_AT, _IN, _OUT, _TOO_SHORT, _TOO_LONG = range(1, 6)
_WHAT: Final = {_IN: "in", _OUT: "out", _TOO_SHORT: "too_short", _TOO_LONG: "too_long"}
_KINDS: Final = {1: "circle", 2: "rectangle", 3: "polygon", 4: "route", 5: "section"}
_SECTION: Final = 5


def overspeed_places(data: U8, offset: I64, length: I64) -> I64:
    """Read item 0x11 (超速报警附加信息) of every report: kind u8, then, unless that is 0, the place's id u32.

    Args:
        data: the bytes in which the items lie.
        offset, length: of the item's value, one per report; a length of another size means no place.
    """
    codes, rows = _none_yet(length, 5)
    if len(rows):
        kind, place = _fields(data, offset[rows])
        kind[kind == 4] = _SECTION  # table 28 calls 4 a section (路段), table 29 a route (路线)
        codes[rows] = np.where(kind > 0, _code(np.int64(_AT), kind, place), 0)
    return codes


def crossed_places(data: U8, offset: I64, length: I64) -> I64:
    """Read item 0x12 (进出区域/路线报警附加信息): kind u8, id u32, direction u8 (0 in, 1 out)."""
    codes, rows = _none_yet(length, 6)
    if len(rows):
        kind, place = _fields(data, offset[rows])
        codes[rows] = _code(np.where(data[offset[rows] + 5] == 0, _IN, _OUT), kind, place)
    return codes


def timed_sections(data: U8, offset: I64, length: I64) -> I64:
    """Read item 0x13 (路段行驶时间不足/过长报警附加信息): id u32, seconds u16, result u8 (0 too short, 1 too
    long)."""
    codes, rows = _none_yet(length, 7)
    if len(rows):
        _, place = _fields(data, offset[rows] - 1)
        what = np.where(data[offset[rows] + 6] == 0, _TOO_SHORT, _TOO_LONG)
        codes[rows] = _code(what, np.full(len(rows), _SECTION), place)
    return codes


def object_name(code: int) -> str:
    """Give the text of a code, such as `circle:5`, `route:7:out` or `section:9:too_long`; nothing for 0."""
    if code == 0:
        return ""
    kind = code >> _KIND_SHIFT & 0xFF
    what = _WHAT.get(code >> _WHAT_SHIFT)
    place = f"{_KINDS.get(kind, f'kind-{kind}')}:{code & _ID_BITS}"
    return f"{place}:{what}" if what else place


def object_code(name: str) -> int:
    """Give the code of a text that `object_name` gave."""
    if not name:
        return 0
    kind, place, *what = name.split(":")
    kinds = {name: kind for kind, name in _KINDS.items()}
    number = kinds[kind] if kind in kinds else int(kind.removeprefix("kind-"))
    whats = {name: what for what, name in _WHAT.items()}
    return (whats[what[0]] if what else _AT) << _WHAT_SHIFT | number << _KIND_SHIFT | int(place)


def _code(what: I64 | np.int64, kind: I64, place: I64) -> I64:
    code: I64 = (what << np.int64(_WHAT_SHIFT)) | (kind << np.int64(_KIND_SHIFT)) | place
    return code


def _none_yet(length: I64, size: int) -> tuple[I64, I64]:
    """Give a code for every report, nothing so far, and which reports have an item of that size: few."""
    return np.zeros(len(length), np.int64), (length == size).nonzero()[0]


def _fields(data: U8, offset: I64) -> tuple[I64, I64]:
    """Read a u8 and the big-endian u32 behind it."""
    place = np.zeros(len(offset), np.int64)
    for step in range(1, 5):
        place = place << 8 | data[offset + step]
    return data[offset].astype(np.int64), place
