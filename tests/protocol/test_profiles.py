"""Profiles: what terminals do otherwise than the standard, and only where their profile is named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.adapters import HexBytes
from protocol.edition import Edition
from protocol.errors import LocalProtocolError
from protocol.item import ItemType
from protocol.jsonl import decode_record, encode_record
from protocol.messages import MESSAGES, decode_body, encode_body
from protocol.profile import profile
from protocol.profiles import PROFILES, STANDARD, Devices, Profile, profile_named, profile_of

IDENTIFIER: dict[str, Any] = {
    "terminal_id": "NW00017",
    "time": "2026-01-31T08:15:30",
    "sequence": 1,
    "attachment_count": 2,
}


def report(
    items: str, latitude: int = 0, longitude: int = 0, status: int = 0, **known: Any
) -> dict[str, Any]:
    body = bytes(4) + status.to_bytes(4) + latitude.to_bytes(4) + longitude.to_bytes(4) + bytes(12)
    fields = decode_body(0x0200, Edition.E2013, body + bytes.fromhex(items), **known)
    assert isinstance(fields, dict)
    assert encode_body(0x0200, Edition.E2013, fields, **known) == body + bytes.fromhex(items)
    return fields


def test_declarations_are_complete() -> None:
    for name, declared in PROFILES.items():
        assert declared.name == name and declared.what
        for id, layout in declared.layouts.items():
            assert all(MESSAGES[id].layout_named(layout, edition) for edition in Edition)
        for id, item in declared.items.items():
            assert item.id == id and item.name and item.chinese


def test_an_item_means_what_the_profile_says() -> None:
    iccid = "f114" + b"89860117832037382051".hex()
    assert report("f10400000003")["extras"] == {"0xF1": 3}
    assert report(iccid)["extras"] == {"0xF1": b"89860117832037382051"}
    gps51 = PROFILES["gps51"]
    assert report(iccid, profile=gps51)["extras"] == {"0xF1": "89860117832037382051"}
    extras = report(
        "5104" + "00fdfff6" + "540801" + "e4fda120fff1" + "0c" + "30011f" + "fa0400000001", profile=gps51
    )
    assert extras["extras"] == {
        "0x51": {"temperatures": [253, -10]},
        "0x54": {"count": 1, "networks": [{"mac": "e4fda120fff1", "strength": 12}]},
        "0x30": 31,
        "0xFA": 1,
    }


def test_an_item_may_be_taken_from_the_standard() -> None:
    """Terminals that have their own 0x14: as raw bytes, and written back."""
    odd = Profile("odd", items={0x14: ItemType(0x14, "own", "自定义", HexBytes())})
    assert report("140400000001", profile=odd)["extras"] == {"0x14": "00000001"}
    assert report("140400000001")["extras"] == {"0x14": 1}


@given(st.integers(-90_000_000, 90_000_000), st.integers(-180_000_000, 180_000_000), st.booleans())
def test_coordinates_of_twos_complement(latitude: int, longitude: int, sets_bits: bool) -> None:
    """By the number, with or without the hemisphere bits; the standard reads magnitudes."""
    status = (4 * (latitude < 0) + 8 * (longitude < 0)) if sets_bits else 0
    raw = latitude % (1 << 32), longitude % (1 << 32)
    signed = report("", *raw, status=status, profile=PROFILES["two's complement"])
    assert (signed["latitude"], signed["longitude"]) == (latitude / 1e6, longitude / 1e6)
    assert (signed["latitude_raw"], signed["longitude_raw"]) == raw
    magnitudes = report("", abs(latitude), abs(longitude), status=4 * (latitude < 0) + 8 * (longitude < 0))
    assert (magnitudes["latitude"], magnitudes["longitude"]) == (latitude / 1e6, longitude / 1e6)


@pytest.mark.parametrize("dialect", [None, "粤标", "湖南", "四川", "黑龙江"])
@pytest.mark.parametrize("version", ["2013", "2019"])
def test_a_profile_says_which_layout_is_written(dialect: str | None, version: str) -> None:
    widths = {None: 16, "粤标": 40, "湖南": 32, "四川": 39, "黑龙江": 38}
    spare: dict[str | None, dict[str, Any]] = {
        None: {"reserved": "00"},
        "粤标": {"reserved1": 1, "reserved2": 2},
        "湖南": {"reserved": "00" * 17},
        "四川": {"reserved1": 3},
    }
    asked = {
        "server_ip": "203.0.113.17",
        "tcp_port": 7614,
        "udp_port": 0,
        "alarm_identifier": IDENTIFIER | spare.get(dialect, {}),
        "alarm_id": "4711",
        "reserve": "00" * 16,
    }
    record = {
        "msg_id": "0x9208",
        "terminal": "13912345678",
        "version": version,
        "profile": dialect,
        "body": asked,
    }
    wire = encode_record(record)["hex"]
    assert (
        len(wire) // 2
        == (2 + 12 + 1 + (5 if version == "2019" else 0)) + 1 + 12 + 4 + widths[dialect] + 32 + 16
    )
    for hint in (dialect, None):
        body = decode_record({"hex": wire, "profile": hint})["body"]
        assert body.get("layout") == dialect
        assert body["alarm_identifier"] == asked["alarm_identifier"] and body["alarm_id"] == "4711"
        assert encode_record(record | {"profile": None, "body": body})["hex"] == wire


def test_a_profile_that_does_not_fit_gives_way() -> None:
    body = encode_body(0x1211, Edition.E2013, {"file_name": "a", "file_type": 0, "file_size": 1})
    yue = PROFILES["粤标"]
    assert decode_body(0x1211, Edition.E2013, body, profile=yue) == decode_body(0x1211, Edition.E2013, body)
    attachments = {"info_type": 0, "alarm_id": "", "items": [], "terminal_id": "NW00017"}
    attachments["alarm_identifier"] = IDENTIFIER | {"reserved": "00"}
    wire = encode_record({"msg_id": "0x1210", "terminal": "1", "body": attachments})["hex"]
    body = decode_record({"hex": wire, "profile": "粤标"})["body"]
    assert body["layout"] == "2011" and body["terminal_id"] == "NW00017"
    written = encode_record({"msg_id": "0x1210", "terminal": "1", "profile": "粤标", "body": body})
    assert written["hex"] == wire  # named, the standard's layout is written although the profile has another


def test_terminals_have_the_profile_that_is_for_them() -> None:
    only = Profile("a", devices=(Devices("NW", "A1*"), Devices("NW", "B?", "2.*")))
    said = [("NW", "A1-G", ""), ("NW", "B7", "2.1"), ("NW", "B7", "1.9"), ("XX", "A1", ""), ("NW", "", "")]
    assert [any(device.match(*each) for device in only.devices) for each in said] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert profile_of("NW", "A1-G") is STANDARD
    PROFILES["a"] = only
    try:
        assert profile_of("NW", "A1-G") is only and profile_of("XX", "A1-G") is STANDARD
    finally:
        del PROFILES["a"]


def test_names() -> None:
    assert profile_named(None) is profile_named("standard") is STANDARD
    with pytest.raises(LocalProtocolError, match="'unheard' is not one of standard, "):
        profile_named("unheard")
    assert "unheard" in decode_record({"hex": "7e7e", "profile": "unheard"})["error"]
    with pytest.raises(ValueError, match="declared twice"):
        profile("gps51", "GPS51 again")
