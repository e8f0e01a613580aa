"""A chunk of the archive 原始数据归档: all that the logs received in some minutes of a day, in one file.

    NWARC version                       magic, 8 bytes
    block, block, …                     zstd, one of each terminal, and first one of the records themselves
    index                               an `ENTRY` of each block, ordered by identity
    about                               JSON: day, number, which part of which log, what it follows
    index offset, about offset, root    `TRAILER`, and the magic again

A **block** holds the frames of one terminal in order of receipt, its columns as differences to the row before
and its bytes by position in the frame: frames of one terminal differ little and always in the same places, so
this is half of what compressed rows are, at no greater cost. The block under no identity holds all records of
the logs with what is no frame (link events, ticks, rejected bytes), so that the log can be made from a chunk
again, byte by byte.

Where something among the records defies sorting, they are **set aside**: `about` says for what cause, and the
one block, under no identity, holds the records as they were. It is chained like any other.

The **link** of a block is a hash (BLAKE2b-256) of the terminal's link before it, of its entry, and of its
bytes as they lie in the file. The first link of a day follows the last chunk of the day before. The **root**
is a hash of `about` and index, and `about` names the root of the chunk before. So there is no byte of a chunk
that its root does not depend on, and none that can change without the place being known.

Errors:
    ChunkDamaged    what lies in the file is not what was written
"""

import hashlib
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from store.log import LogName, LogRecord, record_size
from store.records import FRAME_HEAD, Bytes, FrameFlag, Frames, RecordKind
from store.storage import keep_file, open_regular

I64: TypeAlias = npt.NDArray[np.int64]
Rows: TypeAlias = npt.NDArray[np.void]
Identify: TypeAlias = Callable[[Bytes, I64, npt.NDArray[np.bool_]], tuple[list[str], I64]]
"""Given frames back to back, their lengths and which are kept as received: the identities among them, and for
each frame which of these it is of. Empty where a frame does not say."""

MAGIC: Final = b"NWARC\x00\x00\x01"
"""The last byte is the version of this layout."""
SUFFIX: Final = ".nwa"
TRAILER: Final = struct.Struct("<QQ32s8s")
HASH_BYTES: Final = 32
LEVEL: Final = 3
"""Of zstd. Level 9 saves 3 % more and takes three times as long."""
LARGEST_BYTES: Final = 512 << 20
"""All blocks of a chunk uncompressed: 64 MiB of the log have a fifth of it at most. Who writes an index that
promises more wants the reader's memory."""

RECORDS: Final = ""
"""The identity of the block that holds the records."""
NOBODY: Final = "?"
"""The identity of frames whose header says none."""

ROW: Final = np.dtype(
    [
        ("received_us", "<i8"),
        ("session", "<u8"),
        ("record", "<u4"),
        ("ordinal", "<u4"),
        ("length", "<u2"),
        ("flags", "<u2"),
    ]
)
"""A frame: when it was received, in which session, where in the log (record of this chunk, place in it)."""

RECORD: Final = np.dtype(
    [("received_us", "<i8"), ("position", "<u8"), ("size", "<u4"), ("log", "u1"), ("kind", "u1")]
)
"""A record of a log. `size` counts the bytes of an event, and the frames of `RecordKind.FRAMES`; bytes of all
where records are set aside."""

ENTRY: Final = np.dtype(
    [
        ("identity", "S20"),
        ("count", "<u4"),
        ("offset", "<u8"),
        ("length", "<u4"),
        ("size", "<u4"),
        ("first_us", "<i8"),
        ("last_us", "<i8"),
        ("link", f"V{HASH_BYTES}"),
    ]
)
"""A block: whose, how many rows, where, how long, how long uncompressed, earliest and latest receipt."""
_LINKED: Final = ENTRY.fields["link"][1] if ENTRY.fields else 0
"""So many bytes of an entry stand before its link, and are part of it."""


class ChunkDamaged(Exception):
    """What lies in the file is not what was written."""

    def __init__(self, path: Path, offset: int, what: str) -> None:
        super().__init__(f"{path}: {what} (byte {offset})")
        self.path, self.offset, self.what = path, offset, what


class Span(msgspec.Struct, frozen=True):
    """Part of a log."""

    slot: int
    begin: int
    end: int


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chunk says of itself."""

    number: int
    """Counts the chunks of an archive, from 1."""
    day: date
    """Day of receipt in Beijing."""
    previous: str
    """Root of the chunk before it, in hex; empty in the first one."""
    seed: str
    """Root of the last chunk of an earlier day, with which the day's chains begin."""
    logs: dict[str, Span]
    """By UUID which part of each log it holds; nothing of those that were silent."""
    blocks: int
    records: int
    frames: int
    frame_bytes: int
    first_us: int
    last_us: int
    sealed_at: datetime
    cause: str = ""
    """Why the records are set aside; empty where they are sorted by terminal."""


Content: TypeAlias = tuple[str, Rows, bytes]
"""A block before compression, with the identity and the rows that it is of."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Records of logs, in order of receipt, as columns."""

    records: Rows
    events: bytes
    """What the records hold that are no frames, back to back."""
    rows: Rows
    data: Bytes
    """The frames back to back."""

    @classmethod
    def of(cls, records: Sequence[LogRecord], log_ids: Sequence[UUID]) -> "Gathered":
        """Gather records of the logs `log_ids`, which are numbered by their order there."""
        number = {log_id: at for at, log_id in enumerate(log_ids)}
        table, heads, data, events = [], list[memoryview](), list[memoryview](), list[memoryview]()
        for position, _, received_us, kind, payload, log, _ in records:
            if kind is RecordKind.FRAMES:
                size, begin = Frames.count(payload), Frames.data_begins(payload)
                heads.append(payload[4:begin])
                data.append(payload[begin:])
            else:
                size = len(payload)
                events.append(payload)
            table.append((received_us, position, size, number[log.log_id], kind))
        found = np.array(table, RECORD)
        head = np.frombuffer(b"".join(heads), FRAME_HEAD)
        joined = np.frombuffer(b"".join(data), np.uint8)
        return cls(found, b"".join(events), _rows(found, head), joined)


def _rows(records: Rows, head: Rows) -> Rows:
    holds = (records["kind"] == RecordKind.FRAMES).nonzero()[0]
    counts = records["size"][holds].astype(np.int64)
    of = np.repeat(holds, counts)
    rows = np.empty(len(head), ROW)
    rows["received_us"] = records["received_us"][of]
    rows["record"] = of
    rows["ordinal"] = np.arange(len(head)) - np.repeat(counts.cumsum() - counts, counts)
    for name in FRAME_HEAD.names or ():
        rows[name] = head[name]
    return rows


def link_after(previous: bytes, entry: np.void, block: bytes | memoryview) -> bytes:
    """Give the link of a block that follows `previous`."""
    made = hashlib.blake2b(previous, digest_size=HASH_BYTES)
    made.update(entry.tobytes()[:_LINKED])
    made.update(block)
    return made.digest()


def first_link(seed: str, day: date, identity: str) -> bytes:
    """Give what the first link of a terminal's day follows."""
    return hashlib.blake2b(f"{seed} {day} {identity}".encode(), digest_size=HASH_BYTES).digest()


def _root(index: bytes | memoryview, about: bytes | memoryview) -> bytes:
    made = hashlib.blake2b(about, digest_size=HASH_BYTES)
    made.update(index)
    return made.digest()


def write(
    path: Path, about: About, contents: Iterable[Content], links: Mapping[str, bytes]
) -> tuple[str, dict[str, bytes]]:
    """Make the file `path`, durable, name and all, on return.

    Args:
        contents: of the blocks, by identity
        links: by identity the last link of this day

    Returns:
        the root in hex, and the new last links
    """
    blocks, entries, made = [], [], dict[str, bytes]()
    offset = len(MAGIC)
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    for identity, rows, content in contents:
        block = compressor.compress(content)
        times = rows["received_us"]
        entry = np.zeros(1, ENTRY)
        entry[0] = (identity.encode(), len(rows), offset, len(block), len(content), *_range(times), b"")
        before = links.get(identity) or first_link(about.seed, about.day, identity)
        made[identity] = link_after(before, entry[0], block)
        entry["link"] = np.void(made[identity])
        blocks.append(block)
        entries.append(entry)
        offset += len(block)
    index = np.concatenate(entries).tobytes()
    said = msgspec.json.encode(msgspec.structs.replace(about, blocks=len(entries)))
    root = _root(index, said)
    trailer = TRAILER.pack(offset, offset + len(index), root, MAGIC)
    keep_file(path, [MAGIC, *blocks, index, said, trailer])
    return root.hex(), made


def _range(times: I64) -> tuple[int, int]:
    return int(times.min()), int(times.max())


def as_received(records: Sequence[LogRecord], log_ids: Sequence[UUID]) -> Iterator[Content]:
    """Give the one block of records that are set aside."""
    number = {log_id: at for at, log_id in enumerate(log_ids)}
    rows = np.array(
        [
            (each.received_at_us, each.position, len(each.payload), number[each.log.log_id], each.kind)
            for each in records
        ],
        RECORD,
    )
    payloads = b"".join(each.payload for each in records)
    yield RECORDS, rows, _planes(_differences(rows, [0])) + payloads


def by_terminal(gathered: Gathered, identify: Identify) -> Iterator[Content]:
    """Give the blocks of records that are sorted."""
    yield RECORDS, gathered.records, _planes(_differences(gathered.records, [0])) + gathered.events
    rows = gathered.rows
    if not len(rows):
        return
    length = rows["length"].astype(np.int64)
    names, which = identify(gathered.data, length, (rows["flags"] & FrameFlag.RAW) != 0)
    rank = np.empty(len(names), np.int64)
    ordered = sorted(range(len(names)), key=lambda each: names[each] or NOBODY)
    rank[ordered] = np.arange(len(names))
    order = np.argsort(rank[which], kind="stable")
    rows = rows[order]
    counts = np.bincount(which, minlength=len(names))[ordered]
    begins = counts.cumsum() - counts
    differences = _differences(rows, begins)
    bytes_of = _frame_planes(gathered.data, (length.cumsum() - length)[order], rows["length"], begins)
    for at, begin, count, planes in zip(ordered, begins.tolist(), counts.tolist(), bytes_of, strict=True):
        chosen = slice(begin, begin + count)
        yield names[at] or NOBODY, rows[chosen], b"".join([_planes(differences[chosen]), *planes])


def _differences(rows: Rows, begins: Sequence[int] | I64) -> Rows:
    """Replace every value by its difference to the row before, but in the rows where a block begins."""
    made = rows.copy()
    for name in rows.dtype.names or ():
        made[name][1:] -= rows[name][:-1]
    made[begins] = rows[begins]
    return made


def _planes(rows: Rows) -> bytes:
    """Give all first bytes of the rows, then all second ones, and so on."""
    return rows.view(np.uint8).reshape(len(rows), rows.itemsize).T.tobytes()


def _frame_planes(data: Bytes, start: I64, length: npt.NDArray[np.uint16], begins: I64) -> list[list[bytes]]:
    """Give for each block the bytes of its frames by length, and those of one length by place.

    `start` and `length` are those of the frames in order of blocks, which begin at `begins`.
    """
    pieces: list[list[bytes]] = [[] for _ in begins]
    for size in np.unique(length[length > 0]).tolist():
        rows = (length == size).nonzero()[0]
        of = np.searchsorted(begins, rows, "right") - 1
        frames = np.lib.stride_tricks.sliding_window_view(data, size)[start[rows]]
        ends = np.append((of[1:] != of[:-1]).nonzero()[0] + 1, len(of))
        firsts = ends - np.diff(ends, prepend=0)
        differences = frames.copy()
        differences[1:] -= frames[:-1]
        differences[firsts] = frames[firsts]
        for block, begin, end in zip(of[firsts].tolist(), firsts.tolist(), ends.tolist(), strict=True):
            pieces[block].append(differences[begin:end].T.tobytes())
    return pieces


class Chunk:
    """An open chunk. Everything is checked that can be without reading the blocks.

    Raises:
        ChunkDamaged: it is not what was written.
        FileNotFoundError: there is none (any more).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size < len(MAGIC) + TRAILER.size:
                raise ChunkDamaged(path, size, "the file is cut short")
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        end = size - TRAILER.size
        index, about, root, magic = TRAILER.unpack_from(self._bytes, end)
        if magic != MAGIC or self._bytes[: len(MAGIC)] != MAGIC:
            raise ChunkDamaged(path, 0 if magic == MAGIC else end, "this is no chunk of this version")
        if not len(MAGIC) <= index <= about <= end or (about - index) % ENTRY.itemsize:
            raise ChunkDamaged(path, end, "the trailer points nowhere")
        view = memoryview(self._bytes)
        self.root: str = _root(view[index:about], view[about:end]).hex()
        """Of what is in the file now."""
        if self.root != root.hex():
            raise ChunkDamaged(path, index, "index or description do not give the root written behind them")
        self.entries: Rows = np.frombuffer(view[index:about], ENTRY)
        if int(self.entries["size"].sum()) > LARGEST_BYTES:
            raise ChunkDamaged(path, index, "the index promises more than a chunk can hold")
        self.about = self._said(view[about:end], about)
        self._index = index

    def _said(self, about: memoryview, offset: int) -> About:
        try:
            said = msgspec.json.decode(about, type=About)
        except msgspec.DecodeError as error:
            raise ChunkDamaged(self.path, offset, f"the description cannot be read: {error}") from None
        if said.blocks != len(self.entries):
            raise ChunkDamaged(self.path, offset, "the description names another number of blocks")
        return said

    def __repr__(self) -> str:
        return f"<Chunk {self.about.number} of {self.about.day}, {len(self.entries)} blocks>"

    def find(self, identity: str) -> int | None:
        """Give the place of a terminal's block."""
        at = int(np.searchsorted(self.entries["identity"], identity.encode()))
        is_there = at < len(self.entries) and self.identity(at) == identity
        return at if is_there else None

    def identity(self, at: int) -> str:
        """Whose block it is."""
        return bytes(self.entries["identity"][at]).decode()

    def link(self, at: int) -> bytes:
        """Give a block's link as it is written in the index."""
        return bytes(self.entries["link"][at])

    def links(self) -> dict[str, bytes]:
        """Give all links by identity."""
        return {self.identity(at): self.link(at) for at in range(len(self.entries))}

    def block(self, at: int) -> memoryview:
        """Give a block's bytes as they lie in the file.

        Raises:
            ChunkDamaged: its entry points nowhere.
        """
        offset, length = int(self.entries["offset"][at]), int(self.entries["length"][at])
        before = self.entries[at - 1] if at else None
        begin = len(MAGIC) if before is None else int(before["offset"] + before["length"])
        end = self._index if at == len(self.entries) - 1 else offset + length
        if offset != begin or offset + length != end or end > self._index:
            raise ChunkDamaged(self.path, offset, f"block {at} does not lie between its neighbours")
        return memoryview(self._bytes)[offset : offset + length]

    def rows(self, at: int) -> tuple[Rows, Bytes]:
        """Read a block of frames: its rows in order of receipt, and the frames back to back.

        Raises:
            ChunkDamaged: it cannot be read.
        """
        rows, planes = self._columns(at, ROW)
        length = rows["length"].astype(np.int64)
        if int(length.sum()) != len(planes):
            raise self._damaged(at, "frames do not fill it")
        return rows, _of_frame_planes(planes, length)

    def records(self) -> tuple[Rows, memoryview]:
        """Read the records, and what is no frame of them back to back; of records that are set aside,
        everything.

        Raises:
            ChunkDamaged: they cannot be read.
        """
        rows, rest = self._columns(0, RECORD)
        held = rows["kind"] == RecordKind.FRAMES
        frames = 0 if self.about.cause else int(rows["size"][held].sum())
        is_sound = (
            np.isin(rows["kind"], list(RecordKind)).all() and (rows["log"] < len(self.about.logs)).all()
        )
        if not is_sound or frames != int(self.entries["count"][1:].sum()):
            raise self._damaged(0, "it is none of records")
        if int(rows["size"].sum()) - frames != len(rest):
            raise self._damaged(0, "records do not fill it")
        return rows, rest

    def _columns(self, at: int, kind: np.dtype[Any]) -> tuple[Rows, memoryview]:
        """Read the rows of a block, and what stands behind them."""
        content, count = self._content(at), int(self.entries["count"][at])
        if count * kind.itemsize > len(content):
            raise self._damaged(at, "rows are missing")
        return _of_planes(content, kind, count)

    def _content(self, at: int) -> memoryview:
        """Decompress a block: to the size in the index, which is bounded, and to no byte more."""
        block, size = self.block(at), int(self.entries["size"][at])
        try:
            if zstandard.get_frame_parameters(block).content_size != size:
                raise self._damaged(at, "it is of another size than the index says")
            return memoryview(zstandard.decompress(block, max_output_size=size))
        except zstandard.ZstdError as error:
            raise self._damaged(at, str(error)) from None

    def _damaged(self, at: int, what: str) -> ChunkDamaged:
        return ChunkDamaged(self.path, int(self.entries["offset"][at]), f"block {at} cannot be read: {what}")

    def log(self) -> Iterator[LogRecord]:
        """Give the records of the logs as they were, in order of receipt.

        Raises:
            ChunkDamaged: they cannot be read.
        """
        records, events = self.records()
        names = [LogName(span.slot, UUID(log_id)) for log_id, span in self.about.logs.items()]
        parts = [self.rows(at) for at in range(1, len(self.entries))]
        rows = np.concatenate([np.empty(0, ROW), *(part for part, _ in parts)])
        data = np.concatenate([np.empty(0, np.uint8), *(frames for _, frames in parts)])
        length = rows["length"].astype(np.int64)
        start = length.cumsum() - length
        order = np.lexsort((rows["ordinal"], rows["record"]))
        rows, start = rows[order], start[order]
        length = length[order]
        frame = event = 0
        for received_us, position, size, log, kind in records.tolist():
            if kind == RecordKind.FRAMES and not self.about.cause:
                chosen = slice(frame, frame + size)
                frame += size
                held = rows[chosen]
                content = data[_between(start[chosen], length[chosen])]
                payload = Frames(held["session"], held["length"], held["flags"], content).payload()
            else:
                payload = bytes(events[event : event + size])
                event += size
            after = position + record_size(len(payload))
            yield LogRecord(position, after, received_us, RecordKind(kind), memoryview(payload), names[log])


def _of_planes(content: memoryview, kind: np.dtype[Any], count: int) -> tuple[Rows, memoryview]:
    """Undo `_planes` and `_differences`, and give what stands behind them."""
    size = kind.itemsize * count
    planes = np.frombuffer(content[:size], np.uint8).reshape(kind.itemsize, count)
    rows = planes.T.copy("C").view(kind).reshape(count)
    for name in kind.names or ():
        rows[name] = np.cumsum(rows[name], dtype=rows[name].dtype)
    return rows, content[size:]


def _of_frame_planes(planes: memoryview, length: I64) -> Bytes:
    """Undo `_frame_planes` for one block."""
    start = length.cumsum() - length
    data = np.empty(len(planes), np.uint8)
    at = 0
    for size in np.unique(length[length > 0]).tolist():
        rows = (length == size).nonzero()[0]
        held = np.frombuffer(planes[at : at + size * len(rows)], np.uint8).reshape(size, len(rows))
        data[start[rows][:, None] + np.arange(size)] = np.cumsum(held, axis=1, dtype=np.uint8).T
        at += size * len(rows)
    return data


def _between(start: I64, length: I64) -> I64:
    """Give the places of pieces of a buffer, one after the other."""
    ends = length.cumsum()
    return np.arange(int(length.sum())) + np.repeat(start - (ends - length), length)
