"""JSON records: the contract of `northwatch decode --jsonl -`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.connection import Terminal
from protocol.edition import Edition
from protocol.frame import Frame
from protocol.jsonl import decode_record, encode_record

REPORT = Frame(
    0x0200, bytes.fromhex("013912345678"), 7, bytes(22) + bytes.fromhex("260131081530" + "01040000000a")
)


def test_an_answer_has_these_names() -> None:
    assert decode_record({"id": "a", "hex": REPORT.encode().hex()}) == {
        "id": "a",
        "ok": True,
        "protocol": "808",
        "version": "2013",
        "msg_id": "0x0200",
        "terminal": "13912345678",
        "serial": 7,
        "body": {
            "alarm": 0,
            "status": 0,
            "latitude_raw": 0,
            "longitude_raw": 0,
            "altitude_m": 0,
            "speed_kmh": 0.0,
            "direction_deg": 0,
            "time": "2026-01-31T08:15:30",
            "latitude": 0.0,
            "longitude": 0.0,
            "extras": {"0x01": 10},
        },
    }


@pytest.mark.parametrize(
    ("hex", "error"),
    [
        ("7e0200", "flags 0x7e"),
        ("7e7e", "Too few bytes"),
        ("7e00027e", "Too few bytes"),
        ("7e0002000001391234567800073f7e", "exclusive or"),
        ("7e00020005013912345678000712347e", "exclusive or"),
        ("7e007d0000000139123456780007007e", "0x7d"),
        ("xyz", "hexadecimal"),
        ([], "fragments"),
        (None, ""),
        ([REPORT.encode().hex(), REPORT.encode().hex()], "fragments"),
    ],
)
def test_only_frame_faults_are_not_ok(hex: Any, error: str) -> None:
    answer = decode_record({"id": 1, "hex": hex})
    assert answer["ok"] is False and answer["id"] == 1
    assert error in answer["error"] and answer["error"]


def test_an_undecodable_body_is_ok() -> None:
    for frame, error in (
        (Frame(0x0200, bytes(6), 0, b"abc"), "alarm"),
        (Frame(0x0E00, bytes(6), 0, b"abc"), "message id 0x0e00 is unknown"),
        (Frame(0x0200, bytes(6), 0, b"abc", attributes=0x0400), "encrypted"),
    ):
        answer = decode_record({"id": None, "hex": frame.encode().hex()})
        assert answer["ok"] and answer["body"]["raw"] == b"abc".hex() and error in answer["body"]["error"]


def test_hints_say_what_bytes_cannot() -> None:
    assert decode_record({"hex": REPORT.encode().hex(), "version": "2011"})["version"] == "2011"
    assert decode_record({"hex": REPORT.encode().hex(), "protocol": "1078"})["ok"]
    assert "2020" in decode_record({"hex": REPORT.encode().hex(), "version": "2020"})["error"]
    assert "'x25'" in decode_record({"hex": REPORT.encode().hex(), "protocol": "x25"})["error"]


@given(st.permutations(range(3)))
def test_fragments_in_any_order_give_one_answer(order: list[int]) -> None:
    terminal = Terminal("13912345678", Edition.E2019, first_serial=9)
    one = (28).to_bytes(2) + bytes(22) + bytes.fromhex("260131081530")
    terminal.say(0x0704, (80).to_bytes(2) + b"\x01" + 80 * one)
    frames = [f"7e{content.hex()}7e" for content in terminal.data_to_send().split(b"\x7e") if content]
    answer = decode_record({"id": "x", "hex": [frames[index] for index in order]})
    assert (answer["ok"], answer["msg_id"], answer["serial"]) == (True, "0x0704", 9)
    assert answer["body"]["count"] == len(answer["body"]["items"]) == 80
    assert not decode_record({"id": "x", "hex": frames[:2]})["ok"]
    assert decode_record({"id": "x", "hex": frames[0]})["body"]["error"] == "fragment 1 of 3"
    assert encode_record(answer)["hex"] == frames


@given(st.binary(max_size=60) | st.builds(lambda body: REPORT.encode() + body, st.binary(max_size=9)))
def test_any_bytes_have_an_answer_in_json(data: bytes) -> None:
    for wire in (data, b"\x7e" + data + b"\x7e"):
        assert json.loads(json.dumps(decode_record({"id": 1, "hex": wire.hex()})))["id"] == 1


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"msg_id": "0x0200", "terminal": "1", "body": {}},
        {"msg_id": "0x0E00", "terminal": "1", "body": {"a": 1}},
        {"msg_id": "0x0002", "terminal": "1234567890123", "body": {}},
        {"msg_id": "heartbeat", "terminal": "1", "body": {}},
        {"msg_id": "0x0002", "terminal": "1", "serial": 65536, "body": {}},
        {"msg_id": "0x0002", "terminal": "1", "serial": "x", "body": {}},
        {"msg_id": "0x0002", "terminal": 1, "body": "00"},
    ],
)
def test_what_cannot_be_written_is_an_answer_too(record: dict[str, Any]) -> None:
    answer = encode_record({"id": 5} | record)
    assert answer["id"] == 5 and answer["ok"] is False and answer["error"]


def test_raw_bodies_are_written_as_they_are() -> None:
    frame = Frame(0x0E00, bytes.fromhex("013912345678"), 3, b"abc")
    answer = decode_record({"id": 1, "hex": frame.encode().hex()})
    assert encode_record(answer) == {"id": 1, "ok": True, "hex": frame.encode().hex()}
