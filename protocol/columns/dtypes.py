"""numpy layouts derived from construct declarations.

The declarations in `protocol.frame` and `protocol.messages` are the truth about every field. What is read as columns
is never written down a second time: its offsets, widths and byte order come from the same `Struct` that the scalar
decoder interprets, so the two cannot drift apart.

A **window** is an array of overlapping records, one starting at every byte of a buffer. Indexing it with an array of
offsets gathers the records that start there in one call, whatever their alignment; this is how all fixed fields of a
whole batch are read. The buffer must go on for one record behind the last offset, hence `MARGIN`.
"""

from typing import Any, TypeAlias

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

MARGIN = 32
"""Zero bytes behind the last frame of a buffer: the longest record gathered (a location's 28-byte core) fits in."""

_KIND_OF_FORMAT = {
    letter: kind for letters, kind in (("BHILQ", "u"), ("bhilq", "i"), ("fd", "f")) for letter in letters
}


def layout_of(declaration: Any, **context: Any) -> np.dtype[np.void]:
    """Give the numpy layout of the fixed leading fields of a construct `Struct`.

    `context` answers what conditional fields and lengths ask for (for the header: `attributes`, say). The layout ends
    before the first field whose size the bytes themselves decide. Fields that are no plain number (BCD, strings) are
    raw bytes of their width.
    """
    known = construct.Container(context)
    names: list[str] = []
    formats: list[Any] = []
    offsets: list[int] = []
    end = 0
    for member in _unwrapped(declaration, known).subcons:
        try:
            field = _unwrapped(member, known)
            size = int(field._sizeof(known, "layout"))
        except construct.ConstructError:
            break
        if size and member.name:
            names.append(member.name)
            formats.append(_format_of(field, size))
            offsets.append(end)
        end += size
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})


def _unwrapped(field: Any, known: Any) -> Any:
    """Take names, adapters and decided conditions off a declaration, down to what stands on the wire."""
    while True:
        if isinstance(field, construct.IfThenElse):
            condition = field.condfunc
            met = condition(known) if callable(condition) else condition
            field = field.thensubcon if met else field.elsesubcon
        elif isinstance(field, construct.Renamed | construct.Adapter | construct.Rebuild | construct.Default):
            field = field.subcon
        else:
            return field


def _format_of(field: Any, size: int) -> Any:
    """Give the numpy format of one unwrapped field. Byte order and width are construct's, not the machine's."""
    if isinstance(field, construct.FormatField):
        # numpy's own reading of construct's ">L" would be eight bytes wide.
        return f"{field.fmtstr[0]}{_KIND_OF_FORMAT[field.fmtstr[1]]}{size}"
    return ("u1", (size,))


def window(buffer: U8, record: "np.dtype[Any] | str") -> npt.NDArray[Any]:
    """View `buffer` as overlapping records, one at every byte."""
    itemsize = np.dtype(record).itemsize
    return np.ndarray((len(buffer) - itemsize + 1,), record, buffer, 0, (1,))


def gathered(buffer: U8, offsets: I64, record: np.dtype[Any]) -> Records:
    """Copy the records that start at `offsets`. The buffer goes on for at least one record behind each offset."""
    # One memory copy per record: void items are moved whole, structured ones field by field.
    return window(buffer, f"V{record.itemsize}")[offsets].view(record)


def column(declaration: Any, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Read the raw values of one declared field as its adapter would, all at once."""
    while isinstance(declaration, construct.Renamed):
        declaration = declaration.subcon
    reading: npt.NDArray[Any] = declaration.column(values)
    return reading
