"""位置附加信息项, the additional items behind a location report: their registry and their chain.

JT/T 808-2013 tables 26 and 27. The files of `protocol/items/` declare them, one line each. A chain is id
BYTE, length BYTE, value; its dict is keyed "0x01", "0x2A", … in the order of the wire. An unknown item, or
one whose bytes do not fit its declaration, is its raw bytes and costs nothing else. A second item of the
same id is kept as "0x64#2". Where the chain itself breaks, the remaining bytes are the report's `rest`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from construct import Construct, stream_seek, stream_tell, stream_write

from protocol.body import count_field, entry_key, known_in, read, write
from protocol.edition import Edition
from protocol.errors import BodyError, LocalProtocolError

MAX_ITEM: Final = 255
"""An item's length is one byte."""


@dataclass(frozen=True, slots=True)
class ItemType:
    """One kind of additional item."""

    id: int
    name: str
    chinese: str
    declaration: Construct
    unit: str = ""
    """Of the integer on the wire, e.g. "0.1 km"."""
    since: Edition = Edition.E2011
    clause: str = ""

    @property
    def key(self) -> str:
        """The item's name in a decoded report, e.g. "0x2A"."""
        return item_key(self.id)


ITEMS: Final[dict[int, ItemType]] = {}
"""Every declared item by id. Filled by the files of `protocol/items/`."""


def item(id: int, chinese: str, name: str, declaration: Construct, **facts: Any) -> ItemType:
    """Declare an additional item.

    Raises:
        ValueError: another file has declared this id.
    """
    if id in ITEMS:
        raise ValueError(f"item {id:#04x} is declared twice: {ITEMS[id].name} and {name}")
    ITEMS[id] = ItemType(id, name, chinese, declaration, **facts)
    return ITEMS[id]


def item_key(id: int) -> str:
    """Give an item's key in a decoded report: 42 → "0x2A"."""
    return f"0x{id:02X}"


class ItemChain(Construct):  # type: ignore[misc]
    """The list of additional items to the end of the report, as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Any, path: str) -> dict[str, Any]:
        items: dict[str, Any] = {}
        seen = Counter[str]()
        start = stream_tell(stream, path)
        data, known = stream.read(), known_in(context)
        at = 0
        while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
            value = data[at + 2 : at + 2 + data[at + 1]]
            count_field()
            items[entry_key(item_key(data[at]), seen)] = _read_item(data[at], value, known)
            at += 2 + len(value)
        stream_seek(stream, start + at, 0, path)
        return items

    def _build(self, obj: dict[str, Any] | None, stream: Any, context: Any, path: str) -> Any:
        known = known_in(context)
        for key, value in (obj or {}).items():
            id = int(key.partition("#")[0], 16)
            data = _write_item(id, value, known)
            if len(data) > MAX_ITEM:
                raise LocalProtocolError(f"item {key} has {len(data)} bytes, at most {MAX_ITEM} fit")
            stream_write(stream, bytes((id, len(data))) + data, 2 + len(data), path)
        return obj


def _declared(id: int, known: dict[str, Any]) -> ItemType | None:
    """Give what an id means: to the terminal's profile, or else to the standards."""
    profile = known.get("profile")
    return (profile.items.get(id) if profile else None) or ITEMS.get(id)


def _read_item(id: int, value: bytes, known: dict[str, Any]) -> Any:
    declared = _declared(id, known)
    if declared is None:
        return value
    try:
        return read(declared.declaration, value, **known)
    except BodyError:
        return value


def _write_item(id: int, value: Any, known: dict[str, Any]) -> bytes:
    """Write a value by its declaration; raw bytes, or their hex where no declaration takes it, as they
    are."""
    declared = _declared(id, known)
    if isinstance(value, bytes):
        return value
    try:
        if declared is not None:
            return write(declared.declaration, value, **known)
    except LocalProtocolError:
        if not isinstance(value, str):
            raise
    try:
        return bytes.fromhex(value)
    except (ValueError, TypeError):
        raise LocalProtocolError(f"item {item_key(id)}: {value!r} is neither declared nor hex") from None
