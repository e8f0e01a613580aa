"""JSON records of JT/T 809 frames, through the same door as those of JT/T 808."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.jsonl import decode_record, encode_record
from protocol.jt809.cipher import Keys
from protocol.jt809.dialect import Dialect
from protocol.jt809.framing import Frame
from protocol.jt809.peer import Peer

KEYS = [30_000_000, 20_000_000, 20_000_000]
NOW = 1_769_818_531
LOGIN = {
    "user_id": 7,
    "password": "Nw#2026!",
    "gnss_center_id": 9,
    "down_link_ip": "::1",
    "down_link_port": 9,
}
ALARM = {
    "source_platform_id": "210100NW001",
    "warn_type": 1,
    "warn_time": "2026-01-31T08:15:30",
    "start_time": "2026-01-31T08:15:30",
    "end_time": "2026-01-31T08:16:30",
    "plate_number": "辽A12345",
    "plate_color": 2,
    "destination_platform_id": "210000LN",
    "drv_line_id": 0,
    "info_content": "超速",
}


def test_an_answer_has_these_names() -> None:
    wire = Peer(210001, Dialect.V3).write(0x1402, {"sub_body": ALARM}, 5, NOW)
    answer = decode_record({"id": "a", "hex": wire.hex()})
    body = answer.pop("body")
    assert answer == {
        "id": "a",
        "ok": True,
        "protocol": "809",
        "version": "2019",
        "dialect": "V3",
        "msg_id": "0x1400",
        "serial": 5,
        "header": {
            "length": len(wire) - sum(map(wire[1:-1].count, (0x5A, 0x5E))),
            "serial": 5,
            "gnss_center_id": 210001,
            "protocol_version": "1.0.0",
            "encrypt_flag": 0,
            "encrypt_key": 0,
            "crc": answer["header"]["crc"],
            "time": "2026-01-31T08:15:31",
        },
    }
    assert body["sub_body"].items() >= ALARM.items()
    assert body.items() >= (answer["header"] | ALARM | {"sub_msg_id": "0x1402"}).items()


def test_where_names_meet_the_bodys_own_win() -> None:
    wire = Peer(210001, Dialect.V3).write(0x1001, LOGIN, 5, NOW)
    answer = decode_record({"hex": wire.hex(), "protocol": "809", "version": "2019"})
    assert answer["body"]["gnss_center_id"] == 9
    assert answer["header"]["gnss_center_id"] == 210001
    assert encode_record(answer)["hex"] == wire.hex()


def test_encrypted_frames_are_read_and_written_with_keys() -> None:
    wire = Peer(210001, Dialect.V3, Keys(*KEYS)).write(0x1001, LOGIN, 5, NOW, encrypt_key=99)
    unread = decode_record({"hex": wire.hex(), "version": "2019"})
    assert unread["ok"] and "M1" in unread["body"]["error"]
    assert encode_record(unread)["hex"] == wire.hex()
    read = decode_record({"hex": wire.hex(), "version": "2019", "keys": KEYS})
    assert read["body"].items() >= LOGIN.items()
    assert encode_record(read | {"keys": KEYS})["hex"] == wire.hex()
    assert "keys" in encode_record(read)["error"]


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"hex": "5b00"}, "0x5b"),
        ({"hex": "5b5d"}, "Too few bytes"),
        ({"hex": "5b5b5d"}, "0x5b"),
        ({"hex": Frame(0x1005, 1, 1, b"").encode().hex()[:-6] + "00005d"}, "CRC"),
        ({"hex": "5b5a005d"}, "0x5a"),
        ({"hex": "5bx", "protocol": "809"}, "hexadecimal"),
        ({"protocol": "809"}, "hex"),
        ({"hex": ["5b5d"], "protocol": "809"}, ""),
        ({"hex": Frame(0x1005, 1, 1, b"").encode().hex(), "version": "2020"}, "2020"),
        ({"hex": Frame(0x1005, 1, 1, b"").encode().hex(), "version": "2019"}, "2019 header"),
        ({"hex": Frame(0x1005, 1, 1, b"").encode().hex(), "keys": [1]}, ""),
    ],
)
def test_only_frame_faults_are_not_ok(record: dict[str, Any], error: str) -> None:
    answer = decode_record({"id": 1} | record)
    assert answer["ok"] is False and answer["id"] == 1
    assert error in answer["error"] and answer["error"]


@given(st.binary(max_size=80), st.integers(0, 0xFFFF), st.sampled_from((None, "2011", "2019", "V2")))
def test_any_bytes_have_an_answer_in_json(data: bytes, msg_id: int, version: str | None) -> None:
    for wire in (data, b"\x5b" + data + b"\x5d", Frame(msg_id, 1, 1, data, time=NOW).encode()):
        record = {"id": 1, "hex": wire.hex(), "protocol": "809", "version": version}
        answer = json.loads(json.dumps(decode_record(record)))
        assert answer["id"] == 1


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"msg_id": "0x1005"},
        {"msg_id": "0x1005", "body": {}},
        {"msg_id": "0x1005", "body": "00"},
        {"msg_id": "keep alive", "body": {"gnss_center_id": 1}},
        {"msg_id": "0x1002", "body": {"gnss_center_id": 1}},
        {"msg_id": "0x1200", "body": {"gnss_center_id": 1, "sub_msg_id": "0x1301"}},
        {"msg_id": "0x1005", "serial": "x", "body": {"gnss_center_id": 1}},
        {"msg_id": "0x1005", "version": "2013", "body": {"gnss_center_id": 1}},
        {"msg_id": "0x1005", "body": {"gnss_center_id": 1, "encrypt_flag": 1}},
        {"msg_id": "0x1005", "body": {"gnss_center_id": 1, "protocol_version": "1.2"}},
    ],
)
def test_what_cannot_be_written_is_an_answer_too(record: dict[str, Any]) -> None:
    answer = encode_record({"id": 5, "protocol": "809"} | record)
    assert answer["id"] == 5 and answer["ok"] is False and answer["error"]


def test_the_least_that_is_written() -> None:
    record = {"id": 5, "protocol": "809", "msg_id": "0x1005", "body": {"gnss_center_id": 210001}}
    assert encode_record(record) == {
        "id": 5,
        "ok": True,
        "hex": Frame(0x1005, 0, 210001, b"").encode().hex(),
    }
