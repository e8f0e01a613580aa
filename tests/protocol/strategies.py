"""Hypothesis strategies that follow construct declarations: whatever one can carry is drawn from it.

A new message, item or field needs nothing here; a new kind of construct in a declaration does.
"""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import construct as c
from hypothesis import assume
from hypothesis import strategies as st

from protocol import adapters, body
from protocol.body import read, write
from protocol.edition import Edition
from protocol.frame import MAX_BODY, Frame
from protocol.items import ITEMS, ItemChain
from protocol.messages import MESSAGES

LETTERS = "ABCXYZ0189-京沪粤辽测试"
NO_TIMES = (b"\0" * 6, b"\xff" * 6, bytes.fromhex("260230000000"))
INTEGERS = {
    "B": (0, 0xFF),
    "H": (0, 0xFFFF),
    "L": (0, 0xFFFFFFFF),
    "Q": (0, 2**64 - 1),
    "h": (-0x8000, 0x7FFF),
}

serials = st.integers(0, 0xFFFF)
raw_ids = {True: st.binary(min_size=10, max_size=10), False: st.binary(min_size=6, max_size=6)}
times = st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=0)
)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Cut a stream into chunks."""
    marks = [0, *sorted(mark % (len(data) + 1) for mark in at), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


@st.composite
def frames(draw: Any, bodies: st.SearchStrategy[bytes] | None = None) -> Frame:
    """Any frame that we could send."""
    is_2019 = draw(st.booleans())
    fragment = draw(st.none() | st.tuples(st.integers(1, 0xFFFF), st.integers(1, 0xFFFF)))
    return Frame(
        draw(serials),
        draw(raw_ids[is_2019]),
        draw(serials),
        draw(bodies if bodies is not None else st.binary(max_size=80) | st.binary(max_size=MAX_BODY)),
        draw(st.integers(0, 255)) if is_2019 else None,
        fragment,
    )


@st.composite
def bodies(draw: Any, msg_id: int, edition: Edition) -> dict[str, Any]:
    """The fields of a message, as its declaration names them."""
    return _fields(draw, MESSAGES[msg_id].layout(edition), {"edition": edition})


@st.composite
def items(draw: Any) -> dict[str, Any]:
    """The additional items of a location report: declared ones, unknown ones, ones of a wrong length."""
    declared = draw(st.lists(st.sampled_from(sorted(ITEMS)), unique=True, max_size=5))
    chain = {ITEMS[id].key: _item(draw, ITEMS[id].declaration) for id in declared}
    unknown = sorted({f"0x{id:02X}" for id in range(256)} - {type.key for type in ITEMS.values()})
    chain |= draw(st.dictionaries(st.sampled_from(unknown), st.binary(max_size=20), max_size=3))
    if draw(st.booleans()):
        chain["0x31"] = draw(st.binary(min_size=2, max_size=9))
    if "0x31" in chain and draw(st.booleans()):
        chain["0x31#2"] = draw(st.integers(0, 255))
    return chain


def _item(draw: Any, declaration: Any) -> Any:
    """One item. Tyre alarms of one dialect that cover exactly the bytes of another one are not drawn."""
    value = _value(draw, declaration, {})
    body_of_item = write(declaration, value)
    assume(write(declaration, read(declaration, body_of_item)) == body_of_item)
    assume(not isinstance(value, dict) or value.keys() <= read(declaration, body_of_item).keys())
    return value


def _fields(draw: Any, struct: Any, context: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for field in struct.subcons:
        value = _value(draw, field, context | fields)
        if value is not None:
            fields[field.name] = value
    return fields


def _value(draw: Any, declaration: Any, context: dict[str, Any]) -> Any:
    match declaration:
        case c.Computed() | c.Rebuild() | c.Default() | c.Terminated:
            return None
        case c.Renamed():
            return _value(draw, declaration.subcon, context)
        case c.FormatField():
            return draw(st.integers(*INTEGERS[declaration.fmtstr[-1]]))
        case adapters.Scaled():
            return _value(draw, declaration.subcon, context) / declaration.per_unit
        case adapters.Text():
            room = 20 if declaration.width is None else declaration.width
            return draw(st.text(LETTERS, max_size=room).filter(lambda text: len(text.encode("gbk")) <= room))
        case adapters._Hex():
            return draw(_bytes(declaration.subcon)).hex()
        case adapters._BcdTime():
            return draw(times | st.sampled_from(NO_TIMES))
        case ItemChain():
            return draw(items())
        case body.Embedded():
            return _value(draw, declaration.declaration, context)
        case c.IfThenElse():
            chosen = declaration.condfunc(c.Container(context))
            return _value(draw, declaration.thensubcon, context) if chosen else None
        case c.Select():
            choice = draw(st.sampled_from(declaration.subcons))
            return None if choice is c.Pass else _value(draw, choice, context)
        case c.Struct():
            return _fields(draw, declaration, context)
        case c.Prefixed():
            return _value(draw, declaration.subcon, context)
        case c.Array() | c.GreedyRange():
            return [_value(draw, declaration.subcon, context) for _ in range(draw(st.integers(0, 3)))]
    raise NotImplementedError(f"no strategy for {declaration!r} yet")


def _bytes(declaration: Any) -> st.SearchStrategy[bytes]:
    if declaration is c.GreedyBytes:
        return st.binary(max_size=40)
    return st.binary(min_size=declaration.length, max_size=declaration.length)
