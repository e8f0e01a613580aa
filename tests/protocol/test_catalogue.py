"""The catalogue of JT/T 808: what its declarations decide that a round trip does not show."""

import zlib
from datetime import UTC, datetime
from typing import Any

import construct
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import body
from protocol.edition import Edition
from protocol.errors import LocalProtocolError
from protocol.jsonl import to_json
from protocol.message import DOWN, UP
from protocol.messages import MESSAGES, Undecodable, decode_body, encode_body
from protocol.messages.passthrough import MOST_UNCOMPRESSED
from protocol.parameter import parameter
from protocol.parameters import PARAMETERS
from protocol.passthrough import PASSTHROUGHS, passthrough
from tests.protocol.test_messages import within

E2011, E2013, E2019 = Edition

CORE = {
    UP: "0001 0002 0003 0004 0005 0100 0102 0104 0107 0108 0200 0201 0301 0302 0303 0500 0608 0700 0701 0702 "
    "0704 0705 0800 0801 0802 0805 0900 0901 0A00",
    DOWN: "8001 8003 8004 8100 8103 8104 8105 8106 8107 8108 8201 8202 8203 8204 8300 8301 8302 8303 8304 "
    "8400 8401 8500 8600 8601 8602 8603 8604 8605 8606 8607 8608 8700 8701 8702 8800 8801 8802 8803 8804 "
    "8805 8900 8A00",
}
ANSWERS = {
    0x8103: 0x0001,
    0x8104: 0x0104,
    0x8107: 0x0107,
    0x8201: 0x0201,
    0x8302: 0x0302,
    0x8500: 0x0500,
    0x8608: 0x0608,
    0x8700: 0x0700,
    0x8702: 0x0702,
    0x8801: 0x0805,
    0x8802: 0x0802,
    0x8A00: 0x0A00,
    0x0004: 0x8004,
    0x0100: 0x8100,
    0x0801: 0x8800,
    0x0A00: 0x8A00,
}


def read(msg_id: int, edition: Edition, hex: str) -> dict[str, Any]:
    fields = decode_body(msg_id, edition, bytes.fromhex(hex))
    assert isinstance(fields, dict), fields
    return fields


def test_all_71_core_messages_are_declared() -> None:
    ids = {int(id, 16): direction for direction, some in CORE.items() for id in some.split()}
    assert len(ids) == 71
    assert {id: MESSAGES[id].direction for id in ids} == ids


@pytest.mark.parametrize(
    ("editions", "ids"),
    [
        ((E2019,), "0004 0005 0608 8004 8204 8608"),
        ((E2013, E2019), "0107 0108 0704 0705 0805 8003 8106 8107 8108 8203 8702 8805"),
        ((E2011, E2013), "0301 0302 0303 8301 8302 8303 8304"),
    ],
)
def test_editions_have_their_messages(editions: tuple[Edition, ...], ids: str) -> None:
    for id in ids.split():
        assert MESSAGES[int(id, 16)].editions == editions, id


def test_messages_name_their_answers() -> None:
    assert {id: MESSAGES[id].answer for id in ANSWERS} == ANSWERS


# Layouts other than the header says


@pytest.mark.parametrize(
    ("msg_id", "edition", "written_as"),
    [
        (0x0100, E2019, E2013),
        (0x0100, E2019, E2011),
        (0x8003, E2019, E2013),
        (0x0107, E2019, E2013),
        (0x8103, E2011, E2013),
        (0x8600, E2011, E2013),
        (0x0801, E2013, E2011),
        (0x0900, E2011, E2013),
    ],
)
def test_a_body_of_another_edition_is_read_and_says_so(
    msg_id: int, edition: Edition, written_as: Edition
) -> None:
    names = ("manufacturer_id", "terminal_model", "terminal_id")
    medium = dict.fromkeys(("media_id", "media_type", "media_format", "event_code", "channel_id"), 1)
    examples: dict[int, dict[str, Any]] = {
        0x0100: dict.fromkeys(names, "A")
        | {"province_id": 21, "city_id": 100, "plate_color": 1, "plate_number": "辽A12345"},
        0x8003: {"original_serial": 7, "package_ids": [2, 3]},
        0x0107: dict.fromkeys(names, "A")
        | {"terminal_type": 1, "iccid": "89860000000000000042", "hardware_version": "1"}
        | {"firmware_version": "2", "gnss_attribute": 3, "communication_attribute": 1},
        0x8103: {"params": {"0x0001": 60, "0x0013": "192.0.2.7"}},
        0x8600: {
            "action": 0,
            "items": [
                {"area_id": 1, "attribute": 0, "center_latitude_raw": 1, "center_longitude_raw": 2}
                | {"radius_m": 3}
            ],
        },
        0x0801: medium | {"package_total": 2, "package_index": 1, "media_data": "ffd8"},
        0x0900: {"passthrough_type": 0x41, "content_hex": "00ff10"},
    }
    body = encode_body(msg_id, written_as, examples[msg_id])
    fields = decode_body(msg_id, edition, body)
    assert isinstance(fields, dict) and fields["layout"] == written_as.value
    assert within(examples[msg_id], fields)
    assert encode_body(msg_id, edition, fields) == body


def test_a_2013_authentication_behind_a_2019_header_is_read() -> None:
    """A code is text, so that every body fits 2013; one that fits 2019 is never read so."""
    assert read(0x0102, E2019, b"9f3cAA00".hex()) == {"layout": "2011", "auth_code": "9f3cAA00"}
    body = encode_body(
        0x0102, E2019, {"auth_code": "9f3c", "imei": "860000000000042", "software_version": "1"}
    )
    assert "layout" not in read(0x0102, E2019, body.hex())


def test_a_layout_that_is_not_there_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="no other layout named 'x'"):
        encode_body(0x0100, E2019, {"layout": "x"})


def test_what_fits_nothing_is_undecodable_by_its_own_layout() -> None:
    fields = decode_body(0x0107, E2019, bytes(30))
    assert isinstance(fields, Undecodable) and fields.error.startswith("terminal_model: ")


# Absent fields


def test_nothing_follows_what_stops_or_fails() -> None:
    assert encode_body(0x8202, E2013, {"interval_s": 0}) == bytes(2)
    assert encode_body(0x8301, E2013, {"type": 0}) == bytes(1)
    assert encode_body(0x8800, E2013, {"media_id": 42}) == bytes.fromhex("0000002a")
    assert encode_body(0x0805, E2013, {"ack_serial": 1, "result": 1}) == bytes.fromhex("000101")
    assert read(0x8800, E2013, "0000002a") == {"media_id": 42}
    assert read(0x8800, E2013, "0000002a00") == {"media_id": 42, "package_count": 0, "package_ids": []}


def test_the_count_of_a_resend_request_is_a_byte_and_since_2019_a_word() -> None:
    fields = {"original_serial": 1, "package_ids": [5]}
    assert encode_body(0x8003, E2013, fields).hex() == "0001010005"
    assert encode_body(0x8003, E2019, fields).hex() == "000100010005"
    assert encode_body(0x0005, E2013, fields).hex() == "0001010005"


def test_area_fields_are_there_by_the_bits_of_the_attribute() -> None:
    area = {"area_id": 1, "center_latitude_raw": 1, "center_longitude_raw": 2, "radius_m": 3}
    limit = {"max_speed_kmh": 60, "overspeed_duration_s": 5, "night_max_speed_kmh": 50}
    times = {"start_time": "2026-02-01T00:00:00", "end_time": "2026-02-28T23:59:59"}
    for attribute, more, length in ((0, {}, 18), (1, times, 30), (2, limit, 21), (3, times | limit, 33)):
        item = area | {"attribute": attribute} | more
        body = encode_body(0x8600, E2013, {"action": 0, "items": [item]})
        assert len(body) == 2 + length
        night = 2 if attribute & 2 else 0
        later = encode_body(0x8600, E2019, {"action": 0, "items": [item | {"name": "测试"}]})
        assert len(later) == 2 + length + night + 2 + 4
    with pytest.raises(LocalProtocolError):
        encode_body(0x8600, E2013, {"action": 0, "items": [area | {"attribute": 1}]})


def test_a_time_of_every_day_stays_raw() -> None:
    body = "00" + "01" + "00000001" + "0001" + "00000001" * 3 + "000000083000" + "000000180000"
    item = to_json(read(0x8600, E2013, body))["items"][0]
    assert (item["start_time"], item["end_time"]) == ("000000083000", "000000180000")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("0815300250", "08:15:30.0250"),
        ("0000081530", "08:15:30"),  # at the right end: 1530 milliseconds do not exist
        ("0000000000", "00:00:00.0000"),
        ("ff15300250", "ff15300250"),
        ("2515300250", "2515300250"),
    ],
)
def test_the_time_of_can_data(raw: str, text: str) -> None:
    fields = read(0x0705, E2013, "0000" + raw)
    assert fields["first_receive_time"] == text
    assert encode_body(0x0705, E2013, fields).hex() == "0000" + raw


def test_the_servers_time_alone_is_utc() -> None:
    time = datetime(2017, 3, 15, 17, 9, 23, tzinfo=UTC)
    assert encode_body(0x8004, E2019, {"time": time}).hex() == "170315170923"
    assert read(0x8004, E2019, "170315170923") == {"time": time}


def test_a_driver_of_2011_is_told_by_the_status() -> None:
    """Seen at peers: the first byte is taken for a status whatever it is."""
    driver = {
        "driver_name": "王小明",
        "id_card_number": "1",
        "qualification_code": "2",
        "issuing_authority": "3",
    }
    body = encode_body(0x0702, E2011, driver)
    assert read(0x0702, E2013, body.hex()) == driver | {"layout": "2011"}
    assert read(0x0702, E2019, "02260131080000")["card_status"] == 2


# Content of other kinds


def test_compressed_data_is_read_and_written() -> None:
    fields = {"uncompressed_data": b"northwatch".hex()}
    body = encode_body(0x0901, E2013, fields)
    decoded = read(0x0901, E2013, body.hex())
    assert decoded["uncompressed_data"] == fields["uncompressed_data"]
    assert decoded["uncompressed_length"] == 10 and decoded["length"] == len(body) - 4
    assert encode_body(0x0901, E2013, decoded) == body


def test_compressed_data_cannot_fill_the_memory() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    data = bomb.compress(bytes(MOST_UNCOMPRESSED + 1)) + bomb.flush()
    decoded = read(0x0901, E2013, (len(data).to_bytes(4) + data).hex())
    assert decoded.keys() == {"length", "data"}


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_compressed_data_that_is_cut_off_stays_raw(cut: int) -> None:
    whole = encode_body(0x0901, E2013, {"uncompressed_data": b"northwatch".hex()})[4:]
    data = whole[:-cut]
    assert "uncompressed_data" not in read(0x0901, E2013, (len(data).to_bytes(4) + data).hex())


def test_passed_content_is_text_where_it_is_nothing_else() -> None:
    assert read(0x0900, E2013, "41" + b"NW1".hex())["content_text"] == "NW1"
    assert "content_text" not in read(0x0900, E2013, "4100ff")
    assert read(0x0900, E2013, "41") == {"passthrough_type": 0x41, "content_hex": ""}


def test_passed_content_can_be_declared() -> None:
    declared = passthrough(0xFE, "测试", "test", construct.Struct("state" / construct.Int8ub), direction=UP)
    try:
        with pytest.raises(ValueError, match="twice"):
            passthrough(0xFE, "测试", "test", declared.declaration, direction=UP)
        body = encode_body(0x0900, E2013, {"passthrough_type": 0xFE, "content": {"state": 7}})
        assert body.hex() == "fe07"
        assert read(0x0900, E2013, "fe07")["content"] == {"state": 7}
        assert "content" not in read(0x0900, E2013, "fe")  # too short: raw
        assert "content" not in read(0x8900, E2013, "fe07")  # the other direction
    finally:
        del PASSTHROUGHS[UP, 0xFE]
    with pytest.raises(LocalProtocolError):
        encode_body(0x0900, E2013, {"passthrough_type": 0xFE, "content": {"state": 7}})


# Parameters


@pytest.mark.parametrize(
    ("list", "params", "rest"),
    [
        ("00000001040000003c", {"0x0001": 60}, None),
        ("00000001020064" + "0000003102012c", {"0x0001": b"\x00\x64", "0x0031": 300}, None),  # wrong length
        ("00000008010a", {"0x0008": b"\x0a"}, None),  # reserved
        ("000000400134" + "000000400135", {"0x0040": "4", "0x0040#2": "5"}, None),  # one id twice
        ("000000400100", {"0x0040": b"\x00"}, None),  # no text in it
        ("0000004000", {"0x0040": ""}, None),
        ("0000f364" + "02ffff", {"0xF364": b"\xff\xff"}, None),
        (
            "000000400134" + "0000000104000000",
            {"0x0040": "4"},
            bytes.fromhex("0000000104000000"),
        ),  # breaks off
        ("000001100800000064c0000123", {"0x0110": "00000064c0000123"}, None),
    ],
)
def test_parameters(list: str, params: dict[str, Any], rest: bytes | None) -> None:
    body = "09" + list
    fields = read(0x8103, E2013, body)
    assert fields["params"] == params and fields["param_count"] == 9
    assert fields.get("rest") == rest
    assert encode_body(0x8103, E2013, fields).hex() == body


def test_parameters_of_several_fields_are_bytes_with_details() -> None:
    fields = {"overload_threshold": 45, "fatigue_threshold": 70}
    body = encode_body(0x8103, E2013, {"params": {"0x007B": fields}})
    decoded = read(0x8103, E2013, body.hex())
    assert decoded["params"] == {"0x007B": bytes.fromhex("2d46")}
    assert decoded["param_details"] == {"0x007B": fields}


def test_counts_of_channels_are_written_as_they_were_read() -> None:
    """Even where they disagree with the channels' own types; given channels alone, they are counted."""
    declaration = PARAMETERS[0x0076].declaration
    raw = bytes.fromhex("000102" + "01010200" + "02020200" + "03030000")
    fields = body.read(declaration, raw)
    assert (fields["av_channels"], fields["audio_channels"], fields["video_channels"]) == (0, 1, 2)
    assert body.write(declaration, fields) == raw
    assert body.write(declaration, {"channels": fields["channels"]}) == bytes((1, 0, 2)) + raw[3:]


def test_parameters_that_do_not_fit_are_our_own_mistake() -> None:
    for wrong in ({"0x0001": 1 << 32}, {"0x0001": "no hex"}, {"0x0013": "x" * 256}, {"0x0008": 7}):
        with pytest.raises(LocalProtocolError):
            encode_body(0x8103, E2013, {"params": wrong})


def test_two_parameters_of_one_id_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="0x0001 is declared twice"):
        parameter(0x0001, "心跳", "again", construct.Int32ub)


def test_the_parameters_of_the_standards_are_declared() -> None:
    ids = [*range(0x0001, 0x0008), *range(0x0010, 0x001E), *range(0x0020, 0x002A), *range(0x002C, 0x0033)]
    ids += [*range(0x0040, 0x004A), *range(0x0050, 0x005F), 0x0064, 0x0065, *range(0x0070, 0x0078), 0x0079]
    ids += [*range(0x007A, 0x007D), *range(0x0080, 0x0085), *range(0x0090, 0x0096), *range(0x0100, 0x0104)]
    ids += [*range(0x0110, 0x0200), *range(0xF364, 0xF368), 0xF370]
    assert sorted(PARAMETERS) == ids
    assert all(type.chinese and type.name for type in PARAMETERS.values())


@given(st.binary(max_size=300))
def test_any_list_of_parameters_is_written_back(data: bytes) -> None:
    fields = decode_body(0x0104, E2013, b"\0\1\2" + data)
    assert isinstance(fields, dict)
    again = decode_body(0x0104, E2013, encode_body(0x0104, E2013, fields))
    assert isinstance(again, dict) and again["params"] == fields["params"]
