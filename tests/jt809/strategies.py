"""Hypothesis strategies that follow the declarations of JT/T 809: whatever one can carry is drawn from it."""

from datetime import UTC, datetime
from typing import Any

import construct as c
from hypothesis import strategies as st

from protocol import adapters
from protocol.jt809 import adapters as platform
from protocol.jt809.dialect import Dialect
from protocol.jt809.framing import Frame
from protocol.jt809.message import ENVELOPE, GROUPS, MESSAGES, Envelope
from protocol.messages.location import location
from tests.protocol.strategies import INTEGERS, LETTERS, NO_TIMES, times

serials = st.integers(0, 0xFFFFFFFF)
moments = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=0)
)
codes = st.text("0123456789ABCXYZ", min_size=1, max_size=11)


@st.composite
def frames(draw: Any, bodies: st.SearchStrategy[bytes] | None = None) -> Frame:
    """Any frame that we could send."""
    return Frame(
        draw(st.integers(0, 0xFFFF)),
        draw(serials),
        draw(serials),
        draw(bodies if bodies is not None else st.binary(max_size=80)),
        draw(st.binary(min_size=3, max_size=3)),
        draw(st.integers(0, 255)),
        draw(serials),
        draw(st.none() | st.integers(0, 2**64 - 1)),
    )


@st.composite
def messages(draw: Any, id: int, dialect: Dialect, *, any_envelope: bool = False) -> dict[str, Any]:
    """The fields of a message as `Peer.write` takes them, its envelope included."""
    fields = _fields(draw, MESSAGES[id].layout(dialect), {})
    if id & 0xFF00 not in GROUPS:
        return fields
    body: dict[str, Any] = {"sub_body": fields, "plate_number": "辽A12345", "plate_color": 2}
    if any_envelope:
        body[ENVELOPE] = draw(st.sampled_from(Envelope)).value
    return body


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
        case adapters.Trailing():
            return _value(draw, declaration.subcon, context) if draw(st.booleans()) else None
        case c.Renamed() | c.Prefixed():
            return _value(draw, declaration.subcon, context)
        case platform._HexId():
            return draw(st.integers(0, 0xFFFF).map("0x{:04X}".format))
        case platform._Number():
            return draw(serials)
        case platform._UtcSeconds():
            return draw(moments | st.integers(2**40, 2**64 - 1))
        case platform._DayTime():
            return draw(times | st.sampled_from((bytes(7), b"\xff" * 7)))
        case platform.Code():
            return draw(codes | st.binary(min_size=declaration.width, max_size=declaration.width).map(_shown))
        case platform._PlatformId():
            return draw(codes | st.just("") | st.integers(1, 2**80 - 1).filter(_is_number))
        case platform.Carried():
            return draw(st.none() | st.sampled_from(_carried(declaration.msg_id)))
        case c.FormatField():
            return draw(st.integers(*INTEGERS[declaration.fmtstr[-1]]))
        case adapters.Text():
            room = 20 if declaration.width is None else declaration.width
            return draw(st.text(LETTERS, max_size=room).filter(lambda text: len(text.encode("gbk")) <= room))
        case adapters._Hex():
            length = declaration.subcon.length
            size = length if isinstance(length, int) else draw(st.integers(0, 40))
            return draw(st.binary(min_size=size, max_size=size)).hex()
        case adapters._BcdTime():
            return draw(times | st.sampled_from(NO_TIMES))
        case adapters.BcdDigits():
            return draw(st.text("0123456789", min_size=2 * declaration.width, max_size=2 * declaration.width))
        case c.Struct():
            return _fields(draw, declaration, context)
        case c.Array():
            exact = declaration.count if isinstance(declaration.count, int) else draw(st.integers(0, 3))
            return [_value(draw, declaration.subcon, context) for _ in range(exact)]
    raise NotImplementedError(f"no strategy for {declaration!r} yet")


def _carried(id: int) -> list[dict[str, Any]]:
    """Bodies of JT/T 808 messages, whose own tests have all the others."""
    shape = {"width_m": 50, "attribute": 0, "latitude_raw": 41805700, "longitude_raw": 123431500}
    waypoints = [{"waypoint_id": id, "section_id": id} | shape for id in range(3)]
    route = {"route_id": 12, "attribute": 0, "items": waypoints, "name": "沈大线"}
    report = location(41.8, 123.4, datetime(2026, 1, 31, tzinfo=UTC), extras={"0x01": 123456})
    return {0x0200: [report, report | {"extras": {}}], 0x8606: [route, route | {"items": []}]}[id]


def _shown(data: bytes) -> str:
    """Give a code as reading it gives it."""
    return str(platform.Code(len(data)).parse(data))


def _is_number(number: int) -> bool:
    """Reading these bytes gives the number, and not text that it happens to be."""
    return bool(platform.PlatformId.parse(number.to_bytes(platform.PLATFORM_ID_SIZE)) == number)
