"""Messages between platforms: every declaration reads what it writes, and what cannot be read is a value."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from construct import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.adapters import GMT8
from protocol.errors import LocalProtocolError
from protocol.jsonl import decode_record, encode_record, to_json
from protocol.jt809.adapters import moment
from protocol.jt809.cipher import Keys
from protocol.jt809.dialect import Dialect, dialect_named
from protocol.jt809.framing import Deframer
from protocol.jt809.message import (
    ENVELOPE,
    GROUPS,
    MESSAGES,
    Direction,
    Envelope,
    Link,
    decode_body,
    encode_body,
    envelope_of,
    message,
)
from protocol.jt809.messages.static import static_info, static_text
from protocol.jt809.peer import Peer
from protocol.jt809.words import ALARM_TYPES
from protocol.message import Undecodable
from tests.jt809.strategies import messages
from tests.protocol.test_messages import within

NOW = 1_769_818_531
KEYS = Keys(30_000_000, 20_000_000, 20_000_000)
EVERY = [(id, dialect) for id in sorted(MESSAGES) for dialect in Dialect]
EACH_EDITION = [
    (id, dialect) for id, dialect in EVERY if dialect is not Dialect.V2 or dialect in MESSAGES[id].layouts
]
VECTORS = [
    json.loads(line)
    for path in sorted(Path(__file__).with_name("vectors").glob("*.jsonl"))
    for line in path.read_text("utf-8").splitlines()
]


def frame_id(id: int) -> int:
    """The id that frames with this message have."""
    return id & 0xFF00 if id & 0xFF00 in GROUPS else id


@pytest.mark.parametrize(
    ("id", "dialect"), EACH_EDITION, ids=[f"{id:#06x}-{dialect}" for id, dialect in EACH_EDITION]
)
@given(data=st.data(), serial=st.integers(0, 0xFFFFFFFF), key=st.none() | st.integers(0, 0xFFFFFFFF))
@settings(max_examples=15)
def test_every_message_reads_what_it_writes(
    id: int, dialect: Dialect, data: st.DataObject, serial: int, key: int | None
) -> None:
    peer = Peer(210001, dialect, KEYS)
    fields = data.draw(messages(id, dialect))
    (plain,) = Deframer().feed(peer.write(id, fields, serial, NOW, encrypt_key=key))
    assert isinstance(plain, bytes)
    frame, read = peer.read(plain)
    assert isinstance(read, dict)
    if not envelope_of(id, dialect).has_vehicle if id & 0xFF00 in GROUPS else False:
        del fields["plate_number"], fields["plate_color"]
    assert within(fields, read), (fields, read)
    assert (frame.msg_id, frame.serial, frame.gnss_center_id) == (frame_id(id), serial, 210001)
    assert frame.time == (NOW if dialect.is_2019 else None)
    assert peer.write(id, read, serial, NOW, encrypt_key=key) == frame.encode()
    through_json = json.loads(json.dumps(to_json(read)))
    assert peer.write(id, through_json, serial, NOW, encrypt_key=key) == frame.encode()


@given(st.sampled_from([kind for kind in EVERY if kind[0] & 0xFF00 in GROUPS]), st.data())
def test_any_envelope_is_read(kind: tuple[int, Dialect], data: st.DataObject) -> None:
    """Platforms put plate, colour and length where another edition has them."""
    id, dialect = kind
    fields = data.draw(messages(id, dialect, any_envelope=True))
    envelope = Envelope(fields[ENVELOPE])
    body = encode_body(frame_id(id), dialect, {"sub_msg_id": id, **fields})
    read = decode_body(frame_id(id), dialect, body)
    assert isinstance(read, dict)
    assert ("plate_number" in read) == envelope.has_vehicle
    assert read["sub_msg_id"] == f"0x{id:04X}"
    if envelope.has_length:
        assert within(fields["sub_body"], read["sub_body"])
        assert read.get(ENVELOPE, envelope_of(id, dialect)) == envelope


@given(st.sampled_from(EVERY), st.binary(max_size=200))
def test_any_bytes_are_fields_or_undecodable(kind: tuple[int, Dialect], body: bytes) -> None:
    id, dialect = kind
    for content in (body, id.to_bytes(2) + len(body).to_bytes(4) + body, bytes(22) + id.to_bytes(2) + body):
        fields = decode_body(frame_id(id), dialect, content)
        if isinstance(fields, Undecodable):
            assert fields.raw == content and fields.error
            assert encode_body(frame_id(id), dialect, fields) == content
        else:
            json.dumps(to_json(fields))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_vectors_of_our_own(vector: dict[str, Any]) -> None:
    """Frames of every message: read to these values, and written from them byte by byte."""
    hints = {name: vector[name] for name in ("id", "hex", "protocol", "version", "dialect")}
    decoded = decode_record(hints)
    wanted = {name: value for name, value in vector.items() if name not in ("clause", "hex")}
    assert within(wanted, decoded), decoded
    assert encode_record(wanted)["hex"] == vector["hex"]
    assert encode_record(decoded)["hex"] == vector["hex"]


def test_every_message_has_a_vector_of_each_layout() -> None:
    seen = {(int(vector["id"][:4], 16), Dialect(vector["dialect"])) for vector in VECTORS}
    assert seen >= {(type.id, dialect) for type in MESSAGES.values() for dialect in type.layouts}


def test_declarations_are_complete() -> None:
    for type in MESSAGES.values():
        assert type.chinese and type.name and type.clause
        assert type.answer is None or type.answer in MESSAGES
        for layouts in (type.layouts, *type.variants.values()):
            for field in (field for layout in layouts.values() for field in layout.subcons):
                assert field.name and field.docs, f"{type.id:#06x}: {field} has no meaning"
    for group in GROUPS.values():
        assert group.chinese and group.name
        assert any(type.group is group for type in MESSAGES.values())


def test_who_sends_what_where() -> None:
    assert MESSAGES[0x1202].direction is Direction.UP and MESSAGES[0x1202].link is Link.MAIN
    assert MESSAGES[0x9301].direction is Direction.DOWN and MESSAGES[0x9301].link is Link.SUB
    assert MESSAGES[0x1007].link is Link.SUB, "the main link is down, so the other one says it"
    assert MESSAGES[0x9007].link is Link.MAIN
    assert MESSAGES[0x1413].dialects == (Dialect.V3,)


def test_two_declarations_of_one_id_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="0x1005 is declared twice"):
        message(0x1005, "保持", "keep alive again", Struct())


def test_unknown_ids_are_values() -> None:
    assert decode_body(0x3003, Dialect.V3, b"abc") == Undecodable(b"abc", "message id 0x3003 is unknown")
    sub = decode_body(0x1200, Dialect.V3, bytes(22) + bytes.fromhex("12ff") + (3).to_bytes(4) + b"abc")
    assert isinstance(sub, dict)
    assert sub["sub_body"] == {"raw": b"abc", "error": "message id 0x12ff is unknown"}
    assert encode_body(0x1200, Dialect.V3, sub)[-3:] == b"abc"
    for id, fields, complaint in (
        (0x3003, {}, "0x3003"),
        (0x1200, {}, "sub_msg_id"),
        (0x1200, {"sub_msg_id": 0x1301}, "0x1301"),
        (0x1200, {"sub_msg_id": 0x1202, "plate_number": "辽A1"}, "plate_color"),
        (0x1200, {"sub_msg_id": 0x12FF, "plate_number": "", "plate_color": 0}, "0x12ff"),
        (0x1002, {"result": 0}, "verify_code"),
        (0x1002, {"result": 0, "verify_code": 0, "layout": "V9"}, "V9"),
    ):
        with pytest.raises(LocalProtocolError, match=complaint):
            encode_body(id, Dialect.V3, fields)


# Dialects


QUESTION = {"info_id": 31, "info_content": "值班人员是谁?"}
OBJECT = {"object_type": 1, "object_id": "210100NW001"}


def test_a_duty_check_has_three_forms() -> None:
    """查岗: the bytes in front of the question tell the dialects of 0x9301 apart."""
    forms = {
        Dialect.V1: QUESTION,
        Dialect.V2: OBJECT | QUESTION,
        Dialect.V3: OBJECT | {"answer_time": 10} | QUESTION,
    }
    lengths = []
    for dialect, fields in forms.items():
        body = encode_body(0x9300, dialect, {"sub_msg_id": 0x9301, "sub_body": fields})
        lengths.append(len(body) - 6)
        for other in Dialect:
            read = decode_body(0x9300, other, body)
            assert isinstance(read, dict) and within(fields, read["sub_body"])
            assert read["sub_body"].get("layout") == (None if other is dialect else dialect)
            assert encode_body(0x9300, other, read) == body
    assert lengths == [21, 21 + 13, 21 + 22]


def test_dialects_are_named_by_year_too() -> None:
    assert (dialect_named("2011"), dialect_named("2019"), dialect_named("V2")) == tuple(
        (Dialect.V1, Dialect.V3, Dialect.V2)
    )
    assert [dialect.edition for dialect in Dialect] == ["2011", "2011", "2019"]
    with pytest.raises(ValueError, match="2020"):
        dialect_named("2020")


def test_acknowledgements_with_their_length_behind() -> None:
    """0x1205 of 2019 as some platforms send it: what it answers, then a length of 0."""
    body = bytes.fromhex("c1c94131323334350000000000000000000000000002") + bytes.fromhex("1205")
    body += bytes.fromhex("9205") + (11).to_bytes(4) + bytes(4)
    read = decode_body(0x1200, Dialect.V3, body)
    assert isinstance(read, dict)
    assert read["envelope"] == "vehicle, no length"
    assert within({"source_msg_id": "0x9205", "source_serial": 11}, read["sub_body"])
    assert encode_body(0x1200, Dialect.V3, read) == body


def test_a_wrong_length_costs_nothing() -> None:
    body = encode_body(0x9300, Dialect.V2, {"sub_msg_id": 0x9301, "sub_body": OBJECT | QUESTION})
    for wrong in (0, 1, 33, 35, 0x7FFFFFFF):
        read = decode_body(0x9300, Dialect.V2, body[:2] + wrong.to_bytes(4) + body[6:])
        assert isinstance(read, dict) and within(OBJECT | QUESTION, read["sub_body"]), wrong


def test_bytes_behind_a_sub_message_stay_visible() -> None:
    body = encode_body(0x9300, Dialect.V2, {"sub_msg_id": 0x9301, "sub_body": OBJECT | QUESTION}) + b"xy"
    read = decode_body(0x9300, Dialect.V2, body)
    assert isinstance(read, dict) and read["rest"] == b"xy"
    assert encode_body(0x9300, Dialect.V2, read) == body


def test_alarms_without_a_time_of_their_own() -> None:
    """0x9403 of 2019 as tested platforms send it: from when until when only, in milliseconds."""
    fields = {
        "source_platform_id": "210100NW001",
        "warn_type": 3,
        "start_time": 1_769_818_530_123,
        "end_time": 1_769_822_130_123,
        "plate_number": "辽A12345",
        "plate_color": 2,
        "destination_platform_id": "0",
        "drv_line_id": 0,
        "warn_content": "超速",
        "layout": "without warn_time",
    }
    body = encode_body(0x9400, Dialect.V3, {"sub_msg_id": 0x9403, "sub_body": fields})
    read = decode_body(0x9400, Dialect.V3, body)
    assert isinstance(read, dict) and within(fields, read["sub_body"])
    start = moment(read["sub_body"]["start_time"])
    assert start == datetime(2026, 1, 31, 8, 15, 30, 123_000, tzinfo=GMT8)


def test_times_that_are_none() -> None:
    assert moment(2**64 - 1) is None
    noon = datetime(2026, 1, 31, 12, tzinfo=GMT8)
    assert moment(noon) is noon


def test_a_photo_that_was_cut_short_is_kept() -> None:
    body = {"plate_number": "辽A12345", "plate_color": 2, "sub_msg_id": 0x1502}
    vector = next(vector for vector in VECTORS if vector["id"] == "1502-v3")
    whole = encode_body(0x1500, Dialect.V3, body | {"sub_body": vector["body"]["sub_body"]})
    cut_at = len(whole) - 4
    read = decode_body(0x1500, Dialect.V3, whole[:24] + (cut_at - 28).to_bytes(4) + whole[28:cut_at])
    assert isinstance(read, dict)
    assert read["sub_body"]["layout"] == "photo cut short"
    assert read["sub_body"]["photo"] == "ffd8ffe05b5d" and read["sub_body"]["photo_length"] == 10


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"210100NW001", "210100NW001"),
        (b"0".ljust(11, b"\0"), "0"),
        (bytes(11), ""),
        (b"NW1".rjust(11, b"\0"), "NW1"),
        ((12345678901).to_bytes(11), 12345678901),
        (bytes.fromhex("0102030405060708091011"), "0102030405060708091011"),
    ],
)
def test_platform_ids_are_text_a_number_or_hex(raw: bytes, value: Any) -> None:
    body = (0x9102).to_bytes(2) + (27).to_bytes(4) + raw + bytes(16)
    read = decode_body(0x9102, Dialect.V3, body)
    assert isinstance(read, dict) and read["platform_id"] == value
    if not raw.startswith(b"\0\0\0\0\0\0\0\0N"):  # text is written with its padding behind
        assert encode_body(0x9102, Dialect.V3, read) == body


def test_coordinates_are_signed_by_the_status() -> None:
    vector = next(vector for vector in VECTORS if vector["id"] == "1202-v1")
    position = vector["body"]["sub_body"]["vehicle_position"] | {"status": 3 | 4 | 8}
    fields = {**vector["body"], "sub_body": {"vehicle_position": position}}
    read = decode_body(0x1200, Dialect.V1, encode_body(0x1200, Dialect.V1, fields))
    assert isinstance(read, dict)
    position = read["sub_body"]["vehicle_position"]
    assert (position["latitude"], position["longitude"]) == (-41.8057, -123.4315)


def test_a_location_report_that_cannot_be_read_costs_itself_only() -> None:
    report = {"gnss_data": {"raw": "0102"}, "encrypt": 0}
    alarmed = {f"{name}{n}": value for n in (1, 2, 3) for name, value in (("platform_id", ""), ("alarm", 0))}
    fields = {"plate_number": "辽A12345", "plate_color": 2, "sub_msg_id": 0x1202}
    body = encode_body(0x1200, Dialect.V3, fields | {"sub_body": {"vehicle_position_2019": report | alarmed}})
    read = decode_body(0x1200, Dialect.V3, body)
    assert isinstance(read, dict)
    position = read["sub_body"]["vehicle_position_2019"]
    assert position["gnss_data"]["raw"] == b"\1\2" and position["platform_id3"] == ""


def test_static_data_is_pairs() -> None:
    info = {"VIN": "辽A12345", "VEHICLE_COLOR": "2", "TRANS_TYPE": "031"}
    assert static_text(info) == "VIN:=辽A12345;VEHICLE_COLOR:=2;TRANS_TYPE:=031"
    assert static_info(static_text(info) + ";; OWERS_NAME := 某公司 ;x") == info | {"OWERS_NAME": "某公司"}


def test_alarm_types_have_both_names() -> None:
    assert ALARM_TYPES[0xA004].chinese == "下级平台异常断线"
    assert all(type.name.isidentifier() and type.chinese for type in ALARM_TYPES.values())


# Encrypted bodies


def test_an_encrypted_body_needs_the_keys() -> None:
    peer = Peer(210001, Dialect.V1, KEYS)
    fields = {"user_id": 1, "password": "x", "down_link_ip": "192.0.2.10", "down_link_port": 9809}
    wire = peer.write(0x1001, fields, 1, NOW, encrypt_key=256178)
    (plain,) = Deframer().feed(wire)
    assert isinstance(plain, bytes)
    assert peer.read(plain)[1] == fields
    frame, unread = Peer(210001, Dialect.V1).read(plain)
    assert isinstance(unread, Undecodable) and unread.raw == frame.body and "M1" in unread.error
    with pytest.raises(ValueError, match="M1"):
        Peer(210001, Dialect.V1).write(0x1001, fields, 1, NOW, encrypt_key=1)
