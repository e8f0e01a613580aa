"""Location reports as columns are, field by field, what construct reads from the same bytes."""

from datetime import datetime
from itertools import product
from typing import Any

import numpy as np
import pytest
import xxhash
from construct import Bytes, Int8ub, Int16sb, Int32ub, Pass, Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.adapters import NO_TIME, BcdTime, Scaled
from protocol.columns import BadBody, FrameBatch, PositionBatch, batch_locations, body_hashes, locations
from protocol.columns.chains import FEW
from protocol.columns.dtypes import MARGIN, layout_of
from protocol.columns.locations import CUT_BATCH, NOT_IN_BATCH, SHORT_BODY
from protocol.columns.times import times_us
from protocol.edition import Edition
from protocol.frame import HEADER_2013, HEADER_2019, Frame
from protocol.message import Undecodable, decode_body, encode_body
from protocol.messages.location import LOCATION
from tests.protocol.strategies import bodies

CORE = LOCATION.sizeof()
ID = bytes.fromhex("013912345678")

bcd = st.integers(0, 99).map(lambda number: number // 10 << 4 | number % 10)
times = st.lists(bcd, min_size=6, max_size=6).map(bytes) | st.binary(min_size=6, max_size=6)
chains = st.lists(
    st.tuples(st.sampled_from([0x01, 0x2A, 0x30, 0x11, 0xE1, 0x00]), st.binary(max_size=6)), max_size=8
).map(lambda items: b"".join(bytes((id, len(value))) + value for id, value in items))
drawn_reports = st.builds(
    lambda core, time, items, rest: core + time + items + rest,
    st.binary(min_size=22, max_size=22),
    times,
    chains,
    st.just(b"") | st.binary(max_size=4),
)
declared_reports = bodies(0x0200, Edition.E2013).map(lambda body: encode_body(0x0200, Edition.E2013, body))
reports = drawn_reports | declared_reports | st.binary(max_size=CORE - 1)


@st.composite
def batches(draw: st.DrawFn) -> bytes:
    """Bodies of 0x0704, some of them cut."""
    inside = draw(st.lists(reports, max_size=4))
    count = len(inside) + draw(st.sampled_from([0, 0, 0, 1, -1]))
    parts = [len(report).to_bytes(2, "big") + report for report in inside]
    head = max(count, 0).to_bytes(2, "big") + bytes((draw(st.integers(0, 255)),))
    return (head + b"".join(parts) + draw(st.sampled_from([b"", b"", b"\0", b"\0\x09x"])))[:1023]


messages = st.one_of(
    reports.map(lambda body: (0x0200, body)),
    (batches() | st.binary(max_size=4)).map(lambda body: (0x0704, body)),
    st.just((0x0002, b"")),
)


def batch_of(messages: list[tuple[int, bytes]]) -> FrameBatch:
    plains = [Frame(msg_id, ID, 1, body).plain() for msg_id, body in messages]
    return FrameBatch.from_plain(b"".join(plains), [len(plain) for plain in plains])[0]


def expected(messages: list[tuple[int, bytes]]) -> list[tuple[int, int, dict[str, Any]]]:
    """Row, batch type and fields of every report that construct reads."""
    found = []
    for row, (msg_id, body) in enumerate(messages):
        fields = decode_body(msg_id, Edition.E2013, body)
        if isinstance(fields, Undecodable):
            continue
        if msg_id == 0x0200:
            found.append((row, NOT_IN_BATCH, fields))
        if msg_id == 0x0704:
            found += [(row, fields["type"], item) for item in fields["items"] if "raw" not in item]
    return found


def first_number(extras: dict[str, Any], key: str) -> int | None:
    """The first item of an id that has the declared size."""
    numbers = (value for name, value in extras.items() if name.partition("#")[0] == key)
    return next((value for value in numbers if isinstance(value, int)), None)


def check(positions: PositionBatch, index: int, fields: dict[str, Any]) -> None:
    """Compare one report with its fields."""
    assert positions.alarm_bits[index] == fields["alarm"]
    assert positions.status_bits[index] == fields["status"]
    assert positions.lat_raw[index] == fields["latitude_raw"]
    assert positions.lon_raw[index] == fields["longitude_raw"]
    assert positions.lat[index] == fields["latitude"]
    assert positions.lon[index] == fields["longitude"]
    assert positions.has_fix[index] == bool(fields["status"] & 2)
    assert positions.altitude_m[index] == fields["altitude_m"]
    assert positions.speed_kmh[index] == np.float32(fields["speed_kmh"])
    assert positions.heading_deg[index] == fields["direction_deg"]
    time = fields["time"]
    if isinstance(time, datetime):
        assert positions.reported_us[index] == int(time.timestamp()) * 1_000_000
    else:
        assert positions.reported_us[index] == NO_TIME
        assert positions.reported_raw[index].tobytes() == time
    mileage, io_state = (first_number(fields["extras"], key) for key in ("0x01", "0x2A"))
    assert np.isnan(positions.mileage_km[index]) if mileage is None else True
    assert mileage is None or positions.mileage_km[index] == mileage / 10
    assert positions.io_state[index] == (-1 if io_state is None else io_state)
    assert positions.items_ok[index] == ("rest" not in fields)


@given(st.lists(messages, max_size=8), st.sampled_from([1, FEW + 1]))
@settings(max_examples=200)
def test_columns_are_what_construct_reads(some: list[tuple[int, bytes]], times: int) -> None:
    messages = some * times
    positions = locations(batch_of(messages))
    found = expected(messages)
    assert positions.row.tolist() == [row for row, _, _ in found]
    assert positions.batch_type.tolist() == [batch_type for _, batch_type, _ in found]
    for index, (_, _, fields) in enumerate(found):
        check(positions, index, fields)


def scalar_items(body: bytes) -> list[tuple[int, bytes]]:
    found, at = [], CORE
    while at + 2 <= len(body) and at + 2 + body[at + 1] <= len(body):
        found.append((body[at], body[at + 2 : at + 2 + body[at + 1]]))
        at += 2 + body[at + 1]
    return found


@given(st.lists(drawn_reports, max_size=6), st.sampled_from([1, FEW + 1]))
def test_the_walk_finds_the_items_of_a_loop(some: list[bytes], times: int) -> None:
    bodies = some * times
    positions = locations(batch_of([(0x0200, body) for body in bodies]))
    items = positions.items
    for index, body in enumerate(bodies):
        assert positions.body(index) == body
        mine = (items.report == index).nonzero()[0].tolist()
        values = [items.data[items.start[k] : items.start[k] + items.length[k]].tobytes() for k in mine]
        assert list(zip(items.id[mine].tolist(), values, strict=True)) == scalar_items(body)
    for item_id in (0x01, 0x11, 0x77):
        offset, length = positions.item(item_id)
        for index, body in enumerate(bodies):
            value = next((value for id, value in scalar_items(body) if id == item_id), None)
            if value is None:
                assert (offset[index], length[index]) == (-1, -1)
            else:
                assert positions.data[offset[index] : offset[index] + length[index]].tobytes() == value


def test_one_body_of_empty_items_beside_many_others() -> None:
    core = bytes(CORE)
    bodies = [core + b"\x30\x01\x07"] * 100 + [core + b"\xe0\x00" * 497]
    positions = locations(batch_of([(0x0200, body) for body in bodies]))
    assert positions.items_ok.all()
    assert np.bincount(positions.items.report).tolist() == [1] * 100 + [497]


@given(st.lists(batches() | st.binary(max_size=4), max_size=5))
def test_bad_parts_are_named(bodies: list[bytes]) -> None:
    messages = [(0x0704, body) for body in bodies]
    positions = locations(batch_of(messages))
    wanted = []
    for row, body in enumerate(bodies):
        fields = decode_body(0x0704, Edition.E2013, body)
        if isinstance(fields, Undecodable):
            wanted.append(BadBody(row, SHORT_BODY))
            continue
        if any("raw" in item for item in fields["items"]):
            wanted.append(BadBody(row, SHORT_BODY))
        if "rest" in fields or len(fields["items"]) < int.from_bytes(body[:2], "big"):
            wanted.append(BadBody(row, CUT_BATCH))
    assert sorted(positions.bad) == sorted(wanted)


@given(st.lists(batches(), min_size=1, max_size=4))
def test_bodies_that_stand_elsewhere(bodies: list[bytes]) -> None:
    data = np.frombuffer(b"..." + b"".join(bodies) + bytes(MARGIN), np.uint8)
    length = np.array([len(body) for body in bodies])
    row = np.arange(len(bodies))
    there = batch_locations(data, row, 3 + length.cumsum() - length, length)
    here = locations(batch_of([(0x0704, body) for body in bodies]))
    assert [there.body(k) for k in range(len(there))] == [here.body(k) for k in range(len(here))]
    assert there.row.tolist() == here.row.tolist()
    assert there.bad == here.bad


def test_fragments_and_ciphered_bodies_are_left_alone() -> None:
    body = bytes(CORE)
    frames = [
        Frame(0x0200, ID, 1, body),
        Frame(0x0200, ID, 2, body, fragment=(2, 1)),
        Frame(0x0200, ID, 3, body, attributes=1 << 10),
    ]
    plains = [frame.plain() for frame in frames]
    batch, _ = FrameBatch.from_plain(b"".join(plains), [len(plain) for plain in plains])
    assert locations(batch).row.tolist() == [0]
    assert locations(batch, np.arange(3)).row.tolist() == [0, 1, 2]


@given(st.lists(st.lists(bcd, min_size=6, max_size=6).map(bytes) | times, max_size=20))
def test_times_by_table_are_those_of_the_declaration(drawn: list[bytes]) -> None:
    columns = np.frombuffer(b"".join(drawn), np.uint8).reshape(-1, 6)
    assert times_us(columns).tolist() == BcdTime.column(columns).tolist()


def test_every_day_and_every_second_has_its_time() -> None:
    days = np.array([(y, m, d, 0, 0, 0) for y, m, d in product(BCD[:100], BCD[:14], BCD[:33])], np.uint8)
    seconds = np.array([(0x26, 1, 1, *hms) for hms in product(BCD[:26], BCD[:62], BCD[:62])], np.uint8)
    for times in (days, seconds):
        assert (times_us(times) == BcdTime.column(times)).all()


BCD = [number // 10 << 4 | number % 10 for number in range(100)]


@given(st.lists(drawn_reports, max_size=6))
def test_hashes_are_xxh3_of_the_body(bodies: list[bytes]) -> None:
    positions = locations(batch_of([(0x0200, body) for body in bodies]))
    digests = np.array([xxhash.xxh3_64_intdigest(body) for body in bodies], np.uint64)
    assert (body_hashes(positions) == digests.view(np.int64)).all()


@pytest.mark.parametrize("declaration", [HEADER_2013, HEADER_2019, LOCATION])
def test_layouts_follow_the_declarations(declaration: Any) -> None:
    layout = layout_of(declaration)
    assert layout.itemsize == declaration.sizeof()
    raw = np.frombuffer(bytes(range(1, 1 + layout.itemsize)), layout)[0]
    parsed = declaration.parse(raw.tobytes())
    for field in declaration.subcons:
        value = raw[field.name]
        wire = value.tobytes() if value.ndim else int(value)
        sent = parsed[field.name]
        assert wire == (sent * 10 if isinstance(sent, float) else sent)


def test_a_layout_ends_where_the_bytes_decide() -> None:
    declaration = Struct(
        "a" / Int16sb,
        "b" / Scaled(Int32ub, 10),
        "c" / Bytes(3),
        "d" / Bytes(lambda this: this.a),
        "e" / Int8ub,
    )
    layout = layout_of(declaration)
    assert layout.names == ("a", "b", "c")
    assert [layout[name].str for name in ("a", "b")] == [">i2", ">u4"]
    assert layout.itemsize == 9
    assert layout_of(Struct("only" / Pass)).itemsize == 0
