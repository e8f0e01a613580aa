"""The proof of the archive: is what lies there what was received, all of it and in that order?

    heads       every line follows from the one before, and from a copy kept elsewhere where there is one
    chunks      every head has its chunk, every chunk its head, and the numbers have no gap
    roots       each is that of the head, and the next chunk names it
    links       every block gives the link in the index, from the link of the same terminal before it

The first place where that does not hold is named; what lies behind it is not looked at, for it may be a
consequence. A day that retention has deleted is no break: its heads are there, and one that says so. Chunks
of a day are proved from that day alone, so any period can be.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from store import heads
from store.archive import chunk_paths, days, head_of
from store.chunk import RECORDS, Chunk, ChunkDamaged, Span, first_link, link_after
from store.heads import HeadsBroken, Removed, Sealed, SetAside
from store.log import LogReader, Skip, skips_in
from store.merge import logs_in

Progress = Callable[[int, int], None]
"""Told how many bytes of how many are proved."""
_EVERYTHING: Final = (date.min, date.max)


class Break(NamedTuple):
    """The first place at which the archive is not what it was."""

    where: str
    """`heads`, or a path below the archive."""
    what: str
    day: date | None = None
    chunk: int | None = None
    terminal: str | None = None
    block: int | None = None
    offset: int | None = None
    """Byte of the file at which the block begins, or what is wrong."""
    line: int | None = None
    """Of the heads, from 1."""


class Gap(NamedTuple):
    """Part of a log that never came to the archive, because archiving was off."""

    chunk: int
    log: str
    begin: int
    end: int


class Skipped(NamedTuple):
    """Part of a log that was damaged, and that a person let pass: the chunk has the rest."""

    chunk: int
    log: str
    begin: int
    end: int
    by: str
    at: datetime
    kept: str
    """Where its bytes are, below the directory of the logs."""


@dataclass(slots=True)
class Proof:
    """What was proved."""

    chunks: int = 0
    blocks: int = 0
    frames: int = 0
    bytes: int = 0
    first: date | None = None
    last: date | None = None
    removed: list[Removed] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    broken: Break | None = None

    @property
    def holds(self) -> bool:
        return self.broken is None


class _Broken(Exception):
    """Ends the search."""

    def __init__(self, found: Break) -> None:
        self.found = found


def prove(
    directory: Path,
    *,
    identity: str | None = None,
    between: tuple[date, date] = _EVERYTHING,
    copied: Sequence[bytes] = (),
    logs: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Proof:
    """Prove an archive, or name the first place at which it is broken.

    Args:
        identity: of the terminal whose blocks alone are read; heads, roots and index are checked anyway
        between: first and last day
        copied: lines of a copy of the heads, which must be the beginning of the heads here
        logs: which have let go of what the archive has, and so know if its end is missing, and what of them
            was damaged and skipped
    """
    proof = Proof()
    try:
        sealed = _prove_heads(directory, copied, proof)
        _prove_names(directory, sealed, proof)
        if logs is not None:
            _prove_end(directory, sealed, logs)
        is_removed = {each.day for each in proof.removed}
        asked = [
            each for each in sealed if between[0] <= each.day <= between[1] and each.day not in is_removed
        ]
        skips = {} if logs is None else _skips(logs)
        _prove_chunks(directory, (asked, sealed), proof, skips, identity=identity, progress=progress)
    except _Broken as broken:
        proof.broken = broken.found
    return proof


def _prove_heads(directory: Path, copied: Sequence[bytes], proof: Proof) -> list[Sealed]:
    try:
        whole = heads.lines(directory / heads.FILE_NAME)
    except OSError as error:
        raise _Broken(Break(heads.FILE_NAME, f"it cannot be read: {error.strerror}")) from None
    for number, (ours, theirs) in enumerate(zip([*whole, *[b""] * len(copied)], copied, strict=False), 1):
        if ours != theirs:
            missing = "is missing here" if number > len(whole) else "is another one here"
            raise _Broken(Break(heads.FILE_NAME, f"line {number} of the copy {missing}", line=number))
    try:
        read = heads.read(whole)
    except HeadsBroken as broken:
        raise _Broken(Break(heads.FILE_NAME, broken.what, line=broken.line)) from None
    proof.removed = [each for each in read if isinstance(each, Removed)]
    sealed = [each for each in read if isinstance(each, Sealed)]
    for number, each in enumerate(sealed, 1):
        if each.chunk != number:
            raise _Broken(_of(each, f"its head stands where that of chunk {number} should be"))
    return sealed


def _prove_names(directory: Path, sealed: list[Sealed], proof: Proof) -> None:
    """Every chunk has a head, and every head a chunk."""
    listed = {(each.day, each.chunk): each for each in sealed}
    is_removed = {each.day for each in proof.removed}
    there = {(day, int(path.stem)): path for day in days(directory) for path in chunk_paths(directory, day)}
    for each in sealed:
        if (each.day, each.chunk) not in there and each.day not in is_removed:
            raise _Broken(_of(each, "the chunk is missing"))
    for (day, number), path in sorted(there.items()):
        if (day, number) not in listed:
            what = "there is a chunk and no head for it"
            raise _Broken(Break(str(path.relative_to(directory)), what, day, number))


def _prove_end(directory: Path, sealed: list[Sealed], logs: Path) -> None:
    """What the logs have let go of is in the last chunk or before it."""
    spans = _last_spans(directory, sealed[-1]) if sealed else {}
    for slot, place in logs_in(logs).items():
        log = LogReader(place, slot=slot)
        known = spans.get(str(log.log_id))
        if log.archived() > (known.end if known else 0):
            what = f"log {slot} was archived up to {log.archived()}: chunks at the end are missing"
            raise _Broken(Break(heads.FILE_NAME, what, line=len(sealed)))


def _skips(logs: Path) -> Mapping[str, list[Skip]]:
    """Give what readers pass in each log."""
    return {str(LogReader(place, slot=slot).log_id): skips_in(place) for slot, place in logs_in(logs).items()}


def _last_spans(directory: Path, last: Sealed) -> Mapping[str, Span]:
    where = _of(last, "")
    try:
        return Chunk(directory / where.where).about.logs
    except FileNotFoundError:  # retention deleted its day
        return {}
    except ChunkDamaged as damaged:
        raise _Broken(where._replace(what=damaged.what, offset=damaged.offset)) from None
    except OSError as error:
        raise _Broken(where._replace(what=f"it cannot be read: {error.strerror}")) from None


def _prove_chunks(
    directory: Path,
    asked: tuple[list[Sealed], list[Sealed]],
    proof: Proof,
    skips: Mapping[str, list[Skip]],
    *,
    identity: str | None,
    progress: Progress,
) -> None:
    chosen, every = asked
    roots = {each.chunk: each.root for each in every}
    total = sum(each.file_bytes for each in chosen)
    links: dict[str, bytes] = {}
    seed, ends = None, dict[str, int]()
    for head in chosen:
        where = _of(head, "")
        try:
            chunk = Chunk(directory / where.where)
            _prove_root(chunk, head, roots.get(head.chunk - 1, ""))
            if chunk.about.seed != seed:
                links, seed = {}, chunk.about.seed
                if seed != chunk.about.previous:
                    raise _Broken(_of(head, "the day does not follow from the chunk before it"))
            for at in _blocks(chunk, identity):
                _prove_link(chunk, at, links, head)
                proof.blocks += 1
                proof.frames += 0 if at == 0 else int(chunk.entries["count"][at])
            if head.cause:
                proof.set_aside.append(SetAside(head.chunk, head.day.isoformat(), head.cause))
                proof.frames += head.frames
            links |= {RECORDS: chunk.link(0)} if len(chunk.entries) else {}
        except ChunkDamaged as damaged:
            raise _Broken(where._replace(what=damaged.what, offset=damaged.offset)) from None
        except OSError as error:
            raise _Broken(where._replace(what=f"it cannot be read: {error.strerror}")) from None
        for log, span in chunk.about.logs.items():
            if log in ends and span.begin != ends[log]:
                proof.gaps.append(Gap(head.chunk, log, ends[log], span.begin))
            ends[log] = span.end
            proof.skipped += [
                Skipped(head.chunk, log, each.begin, each.end, each.by, each.at, each.kept)
                for each in skips.get(log, ())
                if span.begin <= each.begin < span.end
            ]
        proof.first, proof.last = proof.first or head.day, head.day
        proof.chunks += 1
        proof.bytes += head.file_bytes
        progress(proof.bytes, total)


def _blocks(chunk: Chunk, identity: str | None) -> Iterator[int]:
    if identity is None:
        yield from range(len(chunk.entries))
    elif chunk.about.cause:
        yield 0  # whose they are is not known before they are read
    else:
        at = chunk.find(identity)
        if at is not None:
            yield at


def _prove_root(chunk: Chunk, head: Sealed, previous: str) -> None:
    about = chunk.about
    if chunk.root != head.root:
        raise _Broken(_of(head, f"its root is {chunk.root}, and the head says {head.root}"))
    if msgspec.structs.replace(head_of(chunk), previous=head.previous) != head:
        raise _Broken(_of(head, "the head says something else of it than what it is"))
    if about.previous != previous:
        raise _Broken(_of(head, "it follows another chunk than the one before it"))


def _prove_link(chunk: Chunk, at: int, links: dict[str, bytes], head: Sealed) -> None:
    identity = chunk.identity(at)
    before = links.get(identity) or first_link(chunk.about.seed, chunk.about.day, identity)
    link = link_after(before, chunk.entries[at], chunk.block(at))
    if link != chunk.link(at):
        whose = "the records" if identity == RECORDS else f"terminal {identity}"
        what = f"block {at}, of {whose}, is not what was received: its link should be {chunk.link(at).hex()}"
        found = _of(head, what)._replace(terminal=identity or None, block=at)
        raise _Broken(found._replace(offset=int(chunk.entries["offset"][at])))
    links[identity] = link


def _of(head: Sealed, what: str) -> Break:
    return Break(f"{head.day}/{head.chunk:08d}.nwa", what, head.day, head.chunk)
