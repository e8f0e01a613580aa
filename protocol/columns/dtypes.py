"""numpy layouts derived from construct declarations.

The declarations in `protocol.frame` and `protocol.messages` are the truth about every field. What is read as
columns is not written down a second time: offsets, widths and byte order come from the same `Struct` that the
scalar decoder interprets, so the two cannot drift apart.

A **window** is an array of overlapping records, one starting at every byte of a buffer. Indexed with an array
of offsets it gathers the records that start there in one call, whatever their alignment: this is how the
fixed fields of a whole batch are read. The buffer must go on for one record behind the last offset, hence
`MARGIN`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeAlias

import construct
import numpy as np
import numpy.typing as npt

U8: TypeAlias = npt.NDArray[np.uint8]
U16: TypeAlias = npt.NDArray[np.uint16]
U32: TypeAlias = npt.NDArray[np.uint32]
U64: TypeAlias = npt.NDArray[np.uint64]
I32: TypeAlias = npt.NDArray[np.int32]
I64: TypeAlias = npt.NDArray[np.int64]
F32: TypeAlias = npt.NDArray[np.float32]
F64: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Records: TypeAlias = npt.NDArray[np.void]
Member: TypeAlias = tuple[np.dtype[Any], int]
"""Kind and offset of a field in a layout."""

MARGIN: Final = 32
"""Zero bytes behind the last frame of a buffer: room for the longest record, a location's 28 bytes."""

_KINDS: Final = {"u": "BHILQ", "i": "bhilq", "f": "fd"}
"""numpy's kinds of numbers and construct's letters for them."""


def layout_of(declaration: Any) -> np.dtype[np.void]:
    """Give the numpy layout of the fixed fields that a construct `Struct` begins with.

    Adapters are left to `column`: a field that is no plain number on the wire is the bytes of its width.
    """
    members, end = {}, 0
    for member in declaration.subcons:
        field = _without_adapters(member)
        try:
            size = field.sizeof()
        except construct.SizeofError:
            break
        members[member.name] = _kind_of(field, size), end
        end += size
    return composed(members, end)


def composed(members: Mapping[str, Member], size: int) -> np.dtype[np.void]:
    """Give the layout of records of `size` bytes from the kind and offset of every field."""
    kinds, offsets = [kind for kind, _ in members.values()], [offset for _, offset in members.values()]
    return np.dtype({"names": list(members), "formats": kinds, "offsets": offsets, "itemsize": size})


def members_of(layout: np.dtype[np.void]) -> dict[str, Member]:
    """Take a layout apart: kind and offset by name."""
    fields: Mapping[str, Any] = layout.fields or {}
    return {name: (kind, offset) for name, (kind, offset, *_) in fields.items()}


def _without_adapters(field: Any) -> Any:
    """Take names, conversions and defaults off a field, down to what stands on the wire."""
    while isinstance(field, construct.Subconstruct):
        field = field.subcon
    return field


def _kind_of(field: Any, size: int) -> np.dtype[Any]:
    """Give the numpy kind of what stands on the wire."""
    if not isinstance(field, construct.FormatField):
        return np.dtype((np.uint8, (size,)))
    order, letter = field.fmtstr
    kind = next(kind for kind, letters in _KINDS.items() if letter in letters)
    return np.dtype(f"{order}{kind}{size}")  # by its size: construct's ">L" is four bytes, numpy's eight


def column(declaration: Any, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Read the raw values of one declared field as its adapter does, all at once."""
    while isinstance(declaration, construct.Renamed):
        declaration = declaration.subcon
    reading: npt.NDArray[Any] = declaration.column(values)
    return reading


def window(buffer: U8, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """View `buffer` as overlapping records, one at every byte."""
    return np.ndarray((len(buffer) - kind.itemsize + 1,), kind, buffer, 0, (1,))


def gathered(buffer: U8, offsets: I64, record: np.dtype[np.void]) -> Records:
    """Copy the records that start at `offsets`."""
    return window(buffer, opaque(record.itemsize))[offsets].view(record)


@cache
def opaque(size: int) -> np.dtype[np.void]:
    """Give bytes without fields: numpy copies them in one move, and structured records field by field."""
    return np.dtype((np.void, size))


@cache
def unsigned(size: int) -> np.dtype[Any]:
    """Give the unsigned number of `size` bytes as it stands on the wire."""
    return np.dtype(f">u{size}")
