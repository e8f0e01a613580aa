"""Where each field of a message stands: readings that note offsets.

Nothing here knows a message. While `following(trace)` lasts, every `protocol.body.read` parses by a copy of
its declaration in which each construct notes where it began and ended, what it gave, and what stopped it.
Readings inside of readings (embedded reports, items, parameters) find their place because the bytes that a
stream gives know where they stand, and so do the slices of them.

    with following(Trace()) as trace:
        fields = decode_body(0x0200, Edition.E2013, body)
    trace.readings[0].node          # what the declaration made of which bytes
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from io import SEEK_SET
from typing import Any, Final, SupportsIndex

from construct import Construct, Subconstruct

from protocol.body import WATCH, FieldStream


class Placed(bytes):
    """Bytes that know at which offset they stand. Slices know theirs; everything else gives plain bytes."""

    at: int

    @classmethod
    def of(cls, data: bytes, at: int) -> "Placed":
        """Give bytes that stand at an offset."""
        placed = cls(data)
        placed.at = at
        return placed

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, bytes) and isinstance(key, slice) and key.step in (None, 1):
            return Placed.of(found, self.at + key.indices(len(self))[0])
        return found


class _Stream(FieldStream):
    """A stream whose positions are offsets in the whole, and whose bytes are `Placed`."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data)
        self.at = at

    def tell(self) -> int:
        return super().tell() + self.at

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        super().seek(offset - self.at if whence == SEEK_SET else offset, whence)
        return self.tell()

    def read(self, size: int | None = -1) -> bytes:
        at = self.tell()
        return Placed.of(super().read(size), at)


@dataclass(eq=False, slots=True)
class Node:
    """What one construct made of its bytes."""

    declaration: Construct
    start: int
    end: int = 0
    value: Any = None
    error: Exception | None = None
    children: "list[Node]" = field(default_factory=list)
    readings: "list[Reading]" = field(default_factory=list)
    """Readings that its own decoding asked for."""


@dataclass(eq=False, slots=True)
class Reading:
    """One `protocol.body.read`: a declaration and all the bytes that it was given."""

    declaration: Construct
    data: bytes
    at: int | None
    """Where the bytes stand; None where they are not bytes of the message itself, e.g. decompressed ones.
    The first reading stands at 0."""
    nodes: list[Node] = field(default_factory=list)
    """One, once it has begun."""

    @property
    def node(self) -> Node:
        """What the declaration made of the bytes."""
        return self.nodes[0]

    @property
    def start(self) -> int:
        """Where it stands; within itself where that is not known."""
        return self.at or 0

    @property
    def end(self) -> int:
        """Where its bytes end, read or not."""
        return self.start + len(self.data)

    @property
    def failed(self) -> bool:
        """It gave no value."""
        if not self.nodes or self.node.error is not None:
            return True
        return self.node.end < self.end and not isinstance(self.node.value, dict)


class Trace:
    """Everything that was read while it was followed."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        """In order; those inside of another one are with the node that asked for them."""
        self.open: list[Node] = []

    def __call__(self, declaration: Construct, data: bytes) -> Construct:
        """Note a reading and give the declaration by which to do it."""
        if isinstance(declaration, _Noted):
            declaration = declaration.declaration
        is_whole = not self.open and (not self.readings or data == self.readings[0].data)
        reading = Reading(declaration, data, 0 if is_whole else getattr(data, "at", None))
        (self.open[-1].readings if self.open else self.readings).append(reading)
        return _Begun(self, reading)


@contextmanager
def following(trace: Trace) -> Iterator[Trace]:
    """Note every reading of this thread or task."""
    token = WATCH.set(trace)
    try:
        yield trace
    finally:
        WATCH.reset(token)


class _Begun(Construct):  # type: ignore[misc]
    """The declaration of a reading, on a stream that knows where it stands."""

    def __init__(self, trace: Trace, reading: Reading) -> None:
        super().__init__()
        self.trace = trace
        self.reading = reading

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        placed = _Stream(stream.read(), self.reading.start)
        holder = Node(self, self.reading.start, children=self.reading.nodes)
        self.trace.open.append(holder)
        try:
            value = _noted(self.reading.declaration)._parsereport(placed, context, path)
        finally:
            self.trace.open.pop()
        stream.seek(placed.tell() - self.reading.start)
        return value


class _Noted(Subconstruct):  # type: ignore[misc]
    """A construct that notes what it did."""

    def __init__(self, declaration: Construct, copied: Construct) -> None:
        super().__init__(copied)
        self.declaration = declaration
        self.name = declaration.name
        self.docs = declaration.docs

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        trace = WATCH.get()
        if not isinstance(trace, Trace) or not trace.open:
            return self.subcon._parsereport(stream, context, path)
        if isinstance(stream, _Stream):
            return self._note(trace.open, stream, lambda: self.subcon._parsereport(stream, context, path))
        start = (
            stream.tell()
        )  # in the whole as well: construct's parts of a stream, as of Prefixed, see to it
        placed = _Stream(stream.read(), start)
        value = self._note(trace.open, placed, lambda: self.subcon._parsereport(placed, context, path))
        stream.seek(placed.tell())
        return value

    def _note(self, open: list[Node], stream: _Stream, parse: Callable[[], Any]) -> Any:
        node = Node(self.declaration, stream.tell())
        open[-1].children.append(node)
        open.append(node)
        try:
            node.value = parse()
        except Exception as error:
            node.error = error
            node.end = node.start
            raise
        finally:
            open.pop()
        # Whatever failed inside of what succeeded was only tried.
        node.children = [child for child in node.children if child.error is None]
        node.end = stream.tell()
        return node.value


_NOTED: Final[dict[int, tuple[Construct, _Noted]]] = {}
"""By the id of a declaration, which is kept so that the id stays its own."""


def _noted(declaration: Construct) -> _Noted:
    """Give a copy of a declaration, down to its leaves, that notes what it does."""
    found = _NOTED.get(id(declaration))
    if found is None:
        copied = copy(declaration)
        for name, part in vars(declaration).items():
            if isinstance(part, Construct):
                setattr(copied, name, _noted(part))
            elif isinstance(part, list) and part and all(isinstance(each, Construct) for each in part):
                setattr(copied, name, [_noted(each) for each in part])
        found = _NOTED[id(declaration)] = declaration, _Noted(declaration, copied)
    return found[1]
