"""Exports as files: CSV, Parquet and GeoJSON, written piece by piece while the rows come.

Each writer takes columns and batches of rows and gives bytes. A new format is one function and one line in
`FORMATS`.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as parquet

from store.exports import Export, RowTuple
from store.text import visible

_ARROW: Final = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    25: pa.string(),
    700: pa.float32(),
    701: pa.float64(),
    1082: pa.date32(),
    1184: pa.timestamp("us", tz="UTC"),
}
"""By PostgreSQL's type number; what is missing here becomes text."""

_FORMULA: Final = tuple("=+-@＝＋－＠\t\r\n")
"""A cell that begins so is run by spreadsheets; a terminal may call its vehicle whatever it likes."""

_BOM: Final = "\ufeff"
"""Spreadsheets read Chinese right when a file begins so."""


def as_csv(export: Export) -> Iterator[bytes]:
    """UTF-8 with a byte order mark, a header line, times as ISO 8601 in UTC."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    lines.write(_BOM)
    writer.writerow(name for name, _ in export.columns)
    writes = [(place, _CELLS.get(kind, _texts)) for place, (_, kind) in enumerate(export.columns)]
    for batch in export.batches:
        columns: list[Sequence[Any]] = list(zip(*batch, strict=True))
        for place, write in writes:
            if write is not None:
                columns[place] = write(columns[place])
        writer.writerows(zip(*columns, strict=True))
        yield lines.getvalue().encode()
        lines.seek(0)
        lines.truncate()
    yield lines.getvalue().encode()


def _texts(values: Sequence[Any]) -> list[Any]:
    cells = {each: _text(each) for each in set(values) if isinstance(each, str)}
    return [cells.get(each, each) for each in values]


def _text(text: str) -> str:
    """Give a text as a cell: what spreadsheets would run, and what is not seen, made harmless."""
    is_formula = text.lstrip().startswith(_FORMULA) or text.startswith(_FORMULA)
    return f"'{visible(text, keep_lines=True)}" if is_formula else visible(text, keep_lines=True)


def _bits(values: Sequence[bool | None]) -> list[int | None]:
    return [None if each is None else int(each) for each in values]


_CELLS: Final[dict[int, Callable[[Sequence[Any]], Sequence[Any]] | None]] = {
    **dict.fromkeys((20, 21, 23, 700, 701, 1082)),  # numbers and days are written as they are
    16: _bits,
    1184: msgspec.to_builtins,  # ISO 8601
}
"""How a column's values become cells, by PostgreSQL's type number; what is missing here may be text."""


def as_geojson(export: Export) -> Iterator[bytes]:
    """Write a FeatureCollection, one feature a line: a point where the row has a place, and all else."""
    names = [name for name, _ in export.columns]
    place = (names.index("lon"), names.index("lat")) if {"lon", "lat"} <= set(names) else None
    yield b'{"type":"FeatureCollection","features":[\n'
    comma = b""
    for batch in export.batches:
        features = [msgspec.json.encode(_feature(names, row, place)) for row in batch]
        yield comma + b",\n".join(features)
        comma = b",\n"
    yield b"\n]}\n"


def _feature(names: Sequence[str], row: RowTuple, place: tuple[int, int] | None) -> dict[str, Any]:
    geometry = None
    if place and row[place[0]] is not None and row[place[1]] is not None:
        geometry = {"type": "Point", "coordinates": [row[place[0]], row[place[1]]]}
    properties = {name: value for name, value in zip(names, row, strict=True) if name not in ("lat", "lon")}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def as_parquet(export: Export) -> Iterator[bytes]:
    """Write typed columns, compressed by zstd, one row group for each batch."""
    kinds = [_ARROW.get(kind, pa.string()) for _, kind in export.columns]
    schema = pa.schema([(name, kind) for (name, _), kind in zip(export.columns, kinds, strict=True)])
    sink = io.BytesIO()
    out = _Drained(sink)
    with parquet.ParquetWriter(pa.PythonFile(out, "w"), schema, compression="zstd") as writer:
        for batch in export.batches:
            columns = zip(*batch, strict=True)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            yield out.drain()
    yield out.drain()


class _Drained(io.RawIOBase):
    """A file that forgets what was taken from it but not how long it is."""

    def __init__(self, sink: io.BytesIO) -> None:
        self._sink = sink
        self._before = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._sink.write(data)

    def tell(self) -> int:
        return self._before + self._sink.tell()

    def drain(self) -> bytes:
        """Give what was written since the last time."""
        data = self._sink.getvalue()
        self._before += len(data)
        self._sink.seek(0)
        self._sink.truncate()
        return data


Writer: TypeAlias = Callable[[Export], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file."""

    write: Writer
    media_type: str


FORMATS: Final = {
    "csv": Format(as_csv, "text/csv; charset=utf-8"),
    "parquet": Format(as_parquet, "application/vnd.apache.parquet"),
    "geojson": Format(as_geojson, "application/geo+json"),
}
