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
from protocol.items import ITEMS, ItemChain, active_safety
from protocol.messages import MESSAGES
from protocol.parameters import PARAMETERS, ParameterList

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


dates = times.map(lambda time: time.astimezone(adapters.GMT8).replace(hour=0, minute=0, second=0))


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
def bodies(draw: Any, msg_id: int, edition: Edition, layout: str | None = None) -> dict[str, Any]:
    """The fields of a message, as its declaration names them."""
    return _fields(draw, MESSAGES[msg_id].layout_named(layout, edition), {"edition": edition})


@st.composite
def parameters(draw: Any) -> dict[str, Any]:
    """A list of parameters: declared ones, unknown ones, ones of a wrong length."""
    declared = draw(st.lists(st.sampled_from(sorted(PARAMETERS)), unique=True, max_size=5))
    found = {PARAMETERS[id].key: _parameter(draw, PARAMETERS[id].declaration) for id in declared}
    found |= draw(st.dictionaries(st.sampled_from(("0x0008", "0xF001")), st.binary(max_size=20)))
    if draw(st.booleans()):
        found["0x0001"] = draw(st.binary(min_size=5, max_size=9))
    return found


def _parameter(draw: Any, declaration: Any) -> Any:
    """One parameter; one of several fields is bytes in a list."""
    value = _value(draw, declaration, {})
    return write(declaration, value) if isinstance(declaration, c.Struct) else value


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
    counts: dict[str, Any] = {}
    ended = False
    for field in struct.subcons:
        inner = field
        while isinstance(inner, c.Renamed):
            inner = inner.subcon
        if isinstance(inner, adapters.Trailing):  # whatever follows an absent one is absent too
            ended = ended or draw(st.booleans())
            if ended or inner.rebuilt is not None:
                counts[field.name] = None if ended else 0
                continue
        value = _value(draw, field, context | counts | fields)
        if value is not None:
            fields[field.name] = value
    return fields


def _value(draw: Any, declaration: Any, context: dict[str, Any]) -> Any:
    match declaration:
        case c.Computed() | c.Rebuild() | c.Default() | c.Terminated | c.Check():
            return _rebuilt(draw, declaration)
        case adapters.Among():
            return draw(st.sampled_from(declaration.values))
        case adapters.Trailing():
            return _value(draw, declaration.subcon, context)
        case c.Renamed():
            return _value(draw, declaration.subcon, context)
        case c.FormatField():
            return draw(st.integers(*INTEGERS[declaration.fmtstr[-1]]))
        case adapters.Scaled():
            return _value(draw, declaration.subcon, context) / declaration.per_unit
        case adapters.Text():
            room = 20 if declaration.width is None else declaration.width
            return draw(st.text(LETTERS, max_size=room).filter(lambda text: len(text.encode("gbk")) <= room))
        case active_safety._Spare():
            return draw(st.integers(1, 255) | st.just("00"))
        case adapters._Hex():
            return draw(_bytes(declaration.subcon)).hex()
        case adapters._BcdTime():
            return draw(times | st.sampled_from(NO_TIMES))
        case adapters._BcdDay():
            return draw(dates).strftime("%Y-%m-%d")
        case adapters._BcdDate():
            return draw(dates | st.just(b"\0" * 4))
        case adapters._DayTime():
            return draw(st.sampled_from(("00:00:00.0000", "23:59:59.0999", "09:23:46", "ffffffffff")))
        case adapters.BcdDigits():
            return draw(_bytes(declaration.subcon)).hex().upper()
        case ParameterList():
            return draw(parameters())
        case ItemChain():
            return draw(items())
        case body.Embedded():
            return _value(draw, declaration.declaration, context)
        case c.IfThenElse():
            holds = declaration.condfunc(c.Container(context))
            chosen = declaration.thensubcon if holds else declaration.elsesubcon
            return None if chosen is c.Pass else _value(draw, chosen, context)
        case c.Select():
            choice = draw(st.sampled_from(declaration.subcons))
            return None if choice is c.Pass else _value(draw, choice, context)
        case c.Struct():
            return _fields(draw, declaration, context)
        case c.Prefixed():
            return _value(draw, declaration.subcon, context)
        case c.Array(count=int(count)):
            return [_value(draw, declaration.subcon, context) for _ in range(count)]
        case c.Array() | c.GreedyRange():
            return [_value(draw, declaration.subcon, context) for _ in range(draw(st.integers(0, 3)))]
    raise NotImplementedError(f"no strategy for {declaration!r} yet")


def _rebuilt(draw: Any, declaration: Any) -> Any:
    """What is not drawn, except raw bytes that may be given in two ways."""
    is_raw = isinstance(declaration, c.Rebuild) and isinstance(declaration.subcon, adapters._Hex)
    return draw(_bytes(declaration.subcon.subcon)).hex() if is_raw else None


def _bytes(declaration: Any) -> st.SearchStrategy[bytes]:
    if declaration is c.GreedyBytes or callable(declaration.length):
        return st.binary(max_size=40)
    return st.binary(min_size=declaration.length, max_size=declaration.length)
