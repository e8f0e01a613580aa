"""Messages: every declaration reads what it writes, and what cannot be read is a value."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import construct
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.edition import Edition
from protocol.errors import LocalProtocolError
from protocol.frame import MAX_BODY, Frame
from protocol.items import ITEMS
from protocol.jsonl import decode_record, encode_record, to_json
from protocol.message import message
from protocol.messages import (
    DOWN,
    MESSAGES,
    UP,
    Undecodable,
    decode_body,
    decode_frame,
    encode_body,
)
from protocol.messages.location import LOCATION, location
from tests.fuzz.values import without_lengths
from tests.protocol.strategies import bodies, times

EVERY = [(msg_id, edition) for msg_id in sorted(MESSAGES) for edition in Edition]
NAMES = [f"{msg_id:#06x}-{edition}" for msg_id, edition in EVERY]
VARIANTS = [(type.id, name) for type in MESSAGES.values() for name in type.variants]
VECTORS = [
    json.loads(line)
    for path in sorted(Path(__file__).with_name("vectors").glob("*.jsonl"))
    for line in path.read_text("utf-8").splitlines()
]


def within(wanted: Any, got: Any) -> bool:
    """Every field that was written is read back; reading may add computed ones."""
    if isinstance(wanted, dict):
        return isinstance(got, dict) and all(
            name in got and within(wanted[name], got[name]) for name in wanted
        )
    if isinstance(wanted, list):
        return len(wanted) == len(got) and all(map(within, wanted, got))
    return bool(wanted == got)


@pytest.mark.parametrize(("msg_id", "edition"), EVERY, ids=NAMES)
@given(data=st.data())
@settings(max_examples=15)
def test_every_message_reads_what_it_writes(msg_id: int, edition: Edition, data: st.DataObject) -> None:
    fields = data.draw(bodies(msg_id, edition))
    body = encode_body(msg_id, edition, fields)
    read = decode_body(msg_id, edition, body)
    assert isinstance(read, dict) and within(fields, read), (fields, read)
    assert encode_body(msg_id, edition, read) == body
    through_json = json.loads(json.dumps(to_json(read)))
    assert encode_body(msg_id, edition, through_json) == body


@pytest.mark.parametrize(("msg_id", "layout"), VARIANTS, ids=[f"{id:#06x} {name}" for id, name in VARIANTS])
@given(data=st.data())
@settings(max_examples=15)
def test_every_variant_reads_what_it_writes(msg_id: int, layout: str, data: st.DataObject) -> None:
    """Bytes of a variant may be those of another layout too. Read as the variant they are written back byte
    by byte; read as another layout, padding may be shortened, but nothing that was said."""
    fields = data.draw(bodies(msg_id, Edition.E2019, layout)) | {"layout": layout}
    body = encode_body(msg_id, Edition.E2019, fields)
    read = decode_body(msg_id, Edition.E2019, body)
    written = encode_body(msg_id, Edition.E2019, read)
    if read.get("layout") == layout:
        assert written == body
    again = decode_body(msg_id, Edition.E2019, written)
    assert without_lengths(again) == without_lengths(read)


@given(st.sampled_from(EVERY), st.binary(max_size=MAX_BODY))
def test_any_bytes_are_fields_or_undecodable(kind: tuple[int, Edition], body: bytes) -> None:
    msg_id, edition = kind
    fields = decode_body(msg_id, edition, body)
    if isinstance(fields, Undecodable):
        assert fields.raw == body and fields.error
        assert encode_body(msg_id, edition, fields) == body


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_vectors_of_our_own(vector: dict[str, Any]) -> None:
    """Frames written from the standard's tables: read to these values, and written from them byte by byte."""
    decoded = decode_record({"id": vector["id"], "hex": vector["hex"], "version": vector["version"]})
    wanted = {name: value for name, value in vector.items() if name not in ("clause", "hex")}
    assert within(wanted, decoded), decoded
    assert encode_record(wanted)["hex"] == vector["hex"]


def test_every_message_has_a_vector_of_our_own() -> None:
    assert {int(vector["msg_id"], 16) for vector in VECTORS} == set(MESSAGES)


def test_every_item_of_the_standard_is_in_a_vector_of_our_own() -> None:
    seen = {key for vector in VECTORS for key in vector["body"].get("extras", {})}
    assert {type.key for type in ITEMS.values()} <= seen


def test_declarations_are_complete() -> None:
    for type in MESSAGES.values():
        assert type.chinese and type.name and type.layouts
        assert (type.id < 0x8000) == (type.direction is UP)
        for layout in (*type.layouts.values(), *type.variants.values()):
            for field in layout.subcons:
                assert field.name and field.docs, f"{type.id:#06x}: {field} has no meaning"
    for item in ITEMS.values():
        assert item.chinese and item.name


def test_two_declarations_of_one_id_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="0x0002 is declared twice"):
        message(0x0002, "心跳", "heartbeat again", construct.Struct(), direction=DOWN)


def test_an_unknown_id_is_a_value() -> None:
    assert decode_body(0x0E42, Edition.E2013, b"abc") == Undecodable(b"abc", "message id 0x0e42 is unknown")
    with pytest.raises(LocalProtocolError, match="0x0e42"):
        encode_body(0x0E42, Edition.E2013, {})


@pytest.mark.parametrize("msg_id", [0x0F00, 0x8FFF, 0xE000, 0xFFFF])
def test_a_reserved_id_is_a_value_that_says_so(msg_id: int) -> None:
    fields = decode_body(msg_id, Edition.E2019, b"abc")
    assert isinstance(fields, Undecodable) and fields.raw == b"abc"
    assert "保留" in fields.error or "自定义" in fields.error
    assert encode_body(msg_id, Edition.E2019, fields) == b"abc"


def test_a_short_body_is_a_value_that_says_where_it_ends() -> None:
    fields = decode_body(0x0200, Edition.E2013, bytes(21))
    assert isinstance(fields, Undecodable)
    assert fields.error.startswith("direction_deg: ")


def test_a_message_that_an_edition_has_not_is_read_by_the_nearest_layout() -> None:
    batch = {"type": 0, "items": []}
    assert encode_body(0x0704, Edition.E2011, batch) == encode_body(0x0704, Edition.E2013, batch)
    assert MESSAGES[0x0704].editions == (Edition.E2013, Edition.E2019)
    assert MESSAGES[0x0102].layout(Edition.E2013) is MESSAGES[0x0102].layout(Edition.E2011)


def test_encrypted_and_partial_bodies_are_values() -> None:
    secret = decode_frame(Frame(0x0200, bytes(6), 0, bytes(28), attributes=0x0400), Edition.E2013)
    assert secret == Undecodable(bytes(28), "the body is encrypted by cipher 1")
    part = decode_frame(Frame(0x0704, bytes(6), 0, b"ab", fragment=(3, 2)), Edition.E2013)
    assert part == Undecodable(b"ab", "fragment 2 of 3")


def test_a_missing_field_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="result"):
        encode_body(0x8001, Edition.E2013, {"ack_serial": 1, "ack_msg_id": 2})
    with pytest.raises(LocalProtocolError, match="result"):
        encode_body(0x8001, Edition.E2013, {"ack_serial": 1, "ack_msg_id": 2, "result": 256})


# Location reports


def report(items: str = "") -> dict[str, Any]:
    fields = decode_body(0x0200, Edition.E2013, bytes(28) + bytes.fromhex(items))
    assert isinstance(fields, dict)
    return fields


def test_the_core_of_a_report_has_28_bytes() -> None:
    assert LOCATION.sizeof() == 28


@pytest.mark.parametrize(
    ("items", "extras", "rest"),
    [
        ("0104000000642001ff", {"0x01": 100, "0x20": b"\xff"}, None),  # unknown: raw
        ("0102006431010a", {"0x01": b"\x00\x64", "0x31": 10}, None),  # wrong length: raw, neighbours unharmed
        ("31010131010231010a", {"0x31": 1, "0x31#2": 2, "0x31#3": 10}, None),  # repeated
        ("31010a0105000000", {"0x31": 10}, bytes.fromhex("0105000000")),  # a length beyond the report
        ("31010a01", {"0x31": 10}, b"\x01"),  # an id without length
        ("1100", {"0x11": b""}, None),
        ("110100", {"0x11": {"area_type": 0}}, None),
        ("11050200000007", {"0x11": {"area_type": 2, "area_id": 7}}, None),
        ("110102", {"0x11": b"\x02"}, None),  # a rectangle without its id
        ("18020003", {"0x18": {"abnormal_driving_behavior_alarm_type": 3}}, None),  # table 13 of JT/T 1078
        ("1803000358", {"0x18": {"abnormal_driving_behavior_alarm_type": 3, "fatigue_level": 88}}, None),
        ("0602ffec", {"0x06": -20}, None),
        ("2b0400010002", {"0x2B": {"ad1": 1, "ad0": 2}}, None),
    ],
)
def test_items(items: str, extras: dict[str, Any], rest: bytes | None) -> None:
    fields = report(items)
    assert fields["extras"] == extras
    assert fields.get("rest") == rest
    assert encode_body(0x0200, Edition.E2013, fields) == bytes(28) + bytes.fromhex(items)


def test_active_safety_alarms_are_told_apart_by_their_length() -> None:
    place = bytes.fromhex("05" + "0064" + "01e0d40a" + "073e6ac4" + "260131080000" + "0401")
    su = b"ABCDEFG" + bytes.fromhex("260131080000" + "01" + "02" + "00")
    yue = b"ABCDEFG".ljust(30, b"\0") + bytes.fromhex("260131080000" + "01" + "02" + "0304")
    head = bytes.fromhex("0000001f" + "01" + "02" + "01" + "3232010000")
    for identifier, reserved in ((su, {"reserved": "00"}), (yue, {"reserved1": 3, "reserved2": 4})):
        item = head + place + identifier
        alarm = report(bytes((0x64, len(item))).hex() + item.hex())["extras"]["0x64"]
        assert alarm["event_type"] == 2 and alarm["latitude"] == 31.511562
        assert alarm["alarm_identifier"]["terminal_id"] == "ABCDEFG"
        assert {name: alarm["alarm_identifier"][name] for name in reserved} == reserved


def test_one_bad_report_of_a_batch_costs_itself_only() -> None:
    good = bytes(28) + bytes.fromhex("31010a")
    batch = bytes.fromhex("000301") + b"".join(len(r).to_bytes(2) + r for r in (good, b"bad", good))
    fields = decode_body(0x0704, Edition.E2013, batch)
    assert isinstance(fields, dict) and fields["count"] == 3 and fields["type"] == 1
    first, bad, last = fields["items"]
    assert first == last and first["extras"] == {"0x31": 10}
    assert bad["raw"] == b"bad" and bad["error"].startswith("alarm: ")
    assert encode_body(0x0704, Edition.E2013, fields) == batch


def test_a_batch_is_read_by_its_lengths_whatever_it_counts() -> None:
    one = (28).to_bytes(2) + bytes(28)
    fields = decode_body(0x0704, Edition.E2013, bytes.fromhex("000900") + one + b"\x00\x1c cut off")
    assert isinstance(fields, dict)
    assert fields["count"] == 9 and len(fields["items"]) == 1 and fields["rest"] == b"\x00\x1c cut off"


@given(st.floats(-90, 90), st.floats(-180, 180), times)
def test_degrees_are_signed_by_the_hemisphere_bits(lat: float, lon: float, time: datetime) -> None:
    body = encode_body(0x0200, Edition.E2019, location(lat, lon, time))
    fields = decode_body(0x0200, Edition.E2019, body)
    assert isinstance(fields, dict)
    assert abs(fields["latitude"] - lat) <= 5.1e-7 and abs(fields["longitude"] - lon) <= 5.1e-7
    assert fields["time"] == time and fields["time"].utcoffset() == timedelta(hours=8)


def test_times_are_beijing_time() -> None:
    fields = location(41.8, 123.4, datetime(2026, 1, 31, 20, 0, 1, tzinfo=UTC))
    assert encode_body(0x0200, Edition.E2013, fields)[22:28].hex() == "260201040001"
    assert report()["time"] == bytes(6)  # month 0: no time, kept raw


# Registration


@pytest.mark.parametrize(("edition", "width"), [("2011", 20), ("2013", 32), ("2019", 71)])
def test_text_fields_of_a_registration_grow_with_the_editions(edition: str, width: int) -> None:
    names = ("manufacturer_id", "terminal_model", "terminal_id")
    fields = dict.fromkeys(names, "A1") | {
        "province_id": 21,
        "city_id": 100,
        "plate_color": 2,
        "plate_number": "辽A",
    }
    body = encode_body(0x0100, Edition(edition), fields)
    assert len(body) == 4 + width + 1 + 3
    assert decode_body(0x0100, Edition(edition), body) == fields


def test_padding_is_cut_on_both_sides_and_zeros_are_content() -> None:
    body = (
        bytes(4)
        + b"\0\0\0AB"
        + b"000MODEL".ljust(20, b"\0")
        + b"ID12345"
        + b"\x01"
        + "京A12345".encode("gbk")
    )
    fields = decode_body(0x0100, Edition.E2013, body)
    assert isinstance(fields, dict)
    assert (fields["manufacturer_id"], fields["terminal_model"]) == ("AB", "000MODEL")
    assert fields["plate_number"] == "京A12345"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("京A12345".encode("gbk"), "京A12345"),
        ("京A12345".encode(), "京A12345"),  # real devices send UTF-8 too
        ("测试".encode("gbk"), "测试"),
        (b"plain", "plain"),
        (b"\xff\xff", "\\xff\\xff"),
        (b"A\0B", "A\\x00B"),  # no database column holds NUL
        ("é".encode(), "茅"),  # valid UTF-8, but no Chinese in it: GBK, as the standard has it
    ],
)
def test_text_is_gbk_or_chinese_in_utf8(raw: bytes, text: str) -> None:
    assert decode_body(0x0102, Edition.E2013, raw) == {"auth_code": text}


@given(st.binary(max_size=40))
def test_any_text_can_be_stored_and_written_back(raw: bytes) -> None:
    fields = decode_body(0x0102, Edition.E2013, raw)
    assert isinstance(fields, dict)
    assert "\0" not in fields["auth_code"] and len(fields["auth_code"].encode()) >= len(fields["auth_code"])
    again = encode_body(0x0102, Edition.E2013, fields)
    assert decode_body(0x0102, Edition.E2013, again) == fields


def test_a_refused_registration_carries_no_code() -> None:
    fields = {"ack_serial": 7, "result": 3}
    assert encode_body(0x8100, Edition.E2013, fields | {"auth_code": "x"}) == bytes.fromhex("000703")
    assert decode_body(0x8100, Edition.E2013, bytes.fromhex("000703")) == fields
    assert decode_body(0x8100, Edition.E2013, bytes.fromhex("00070378")) == fields | {"rest": b"x"}
