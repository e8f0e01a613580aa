"""The driving recorder: packets of GB/T 19056 in every command, and what is wrong with them."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.adapters import GMT8
from protocol.edition import Edition
from protocol.errors import LocalProtocolError
from protocol.frame import checksum
from protocol.message import DOWN, UP, Direction
from protocol.messages import decode_body, encode_body
from protocol.recorder import COMMANDS, command, read_block, write_block

TIME = datetime(2026, 1, 31, 8, 15, 30, tzinfo=GMT8)
CLOCK = "260131081530"
LICENSE = b"310101199001011234".hex()
PLACE = "046a0c94" + "017ebe1c" + "002d"  # 123.4315 east, 41.8057 north, 45 m
PERIOD = {"start_time": TIME, "end_time": TIME, "max_blocks": 2}
POSITION = {"longitude_raw": 74058900, "latitude_raw": 25083420, "altitude_m": 45}
MILEAGE = {"time": TIME, "installed": TIME, "initial_mileage_km": 100.0, "mileage_km": 1234567.8}
NAMES = ["", "", "", "近光", "远光", "右转向", "左转向", "制动"]
NAMES_HEX = "".join(name.encode("gbk").ljust(10, b"\0").hex() for name in NAMES)
VEHICLE = {"vin": "LNW00000000000017", "plate_number": "辽A12345", "plate_type": "大型汽车"}
VEHICLE_HEX = (
    b"LNW00000000000017"
    + "辽A12345".encode("gbk").ljust(12, b"\0")
    + "大型汽车".encode("gbk").ljust(12, b"\0")
).hex()

SAMPLES: list[tuple[Direction, int, Any, str]] = [
    (UP, 0x00, {"standard_year": "12", "amendment": 0}, "1200"),
    (UP, 0x01, {"driver_license": "310101199001011234"}, LICENSE),
    (UP, 0x02, {"time": TIME}, CLOCK),
    (UP, 0x03, MILEAGE, CLOCK + CLOCK + "00001000" + "12345678"),
    (UP, 0x04, {"time": TIME, "pulses_per_km": 3600}, CLOCK + "0e10"),
    (UP, 0x05, VEHICLE, VEHICLE_HEX),
    (UP, 0x06, {"time": TIME, "signal_bytes": 1, "names": NAMES}, CLOCK + "01" + NAMES_HEX),
    (
        UP,
        0x07,
        {
            "ccc_code": "C000116",
            "model": "NW-1",
            "production_date": "260131",
            "serial_number": "00000017",
            "reserved": "0000000000",
        },
        b"C000116".hex() + b"NW-1".ljust(16, b"\0").hex() + "260131" + "00000017" + "0000000000",
    ),
    (
        UP,
        0x08,
        {"blocks": [{"start_time": TIME, "seconds": 60 * [{"speed_kmh": 62, "signals": 128}]}]},
        CLOCK + 60 * "3e80",
    ),
    (
        UP,
        0x09,
        {"blocks": 2 * [{"start_time": TIME, "minutes": 60 * [POSITION | {"speed_kmh": 62}]}]},
        2 * (CLOCK + 60 * (PLACE + "3e")),
    ),
    (
        UP,
        0x10,
        {
            "blocks": [
                {
                    "end_time": TIME,
                    "driver_license": "310101199001011234",
                    "samples": 100 * [{"speed_kmh": 255, "signals": 0}],
                    "place": POSITION,
                }
            ]
        },
        CLOCK + LICENSE + 100 * "ff00" + PLACE,
    ),
    (
        UP,
        0x11,
        {
            "blocks": [
                {
                    "driver_license": "310101199001011234",
                    "start_time": TIME,
                    "end_time": TIME,
                    "start_place": POSITION,
                    "end_place": POSITION,
                }
            ]
        },
        LICENSE + CLOCK + CLOCK + PLACE + PLACE,
    ),
    (
        UP,
        0x12,
        {"blocks": [{"time": TIME, "driver_license": "310101199001011234", "event_type": 1}]},
        CLOCK + LICENSE + "01",
    ),
    (UP, 0x13, {"blocks": [{"time": TIME, "event_type": 2}]}, CLOCK + "02"),
    (UP, 0x14, {"blocks": [{"time": TIME, "event_type": 0xC2}]}, CLOCK + "c2"),
    (
        UP,
        0x15,
        {
            "blocks": [
                {
                    "status": 1,
                    "start_time": TIME,
                    "end_time": TIME,
                    "seconds": 60 * [{"recorder_speed_kmh": 60, "reference_speed_kmh": 61}],
                }
            ]
        },
        "01" + CLOCK + CLOCK + 60 * "3c3d",
    ),
    *((DOWN, id, PERIOD, CLOCK + CLOCK + "0002") for id in (0x08, 0x09, *range(0x10, 0x16))),
    (DOWN, 0x82, VEHICLE, VEHICLE_HEX),
    (DOWN, 0x83, {"installed": TIME}, CLOCK),
    (DOWN, 0x84, {"time": TIME, "signal_bytes": 1, "names": NAMES}, CLOCK + "01" + NAMES_HEX),
    (DOWN, 0x84, {"names": NAMES}, NAMES_HEX),
    (DOWN, 0xC2, {"time": TIME}, CLOCK),
    (DOWN, 0xC3, {"time": TIME, "pulses_per_km": 3600}, CLOCK + "0e10"),
    (DOWN, 0xC4, MILEAGE, CLOCK + CLOCK + "00001000" + "12345678"),
    (DOWN, 0xC4, {"initial_mileage_km": 100.0}, "00001000"),
]


def test_every_command_has_a_sample() -> None:
    assert {(direction, id) for direction, id, _, _ in SAMPLES} == COMMANDS.keys()
    assert {id for _, id in COMMANDS} == {
        *range(10),
        *range(0x10, 0x16),
        *range(0x82, 0x85),
        *range(0xC2, 0xC5),
    }


@pytest.mark.parametrize(("direction", "id", "data", "hex"), SAMPLES)
def test_commands_by_the_standards_tables(direction: Direction, id: int, data: Any, hex: str) -> None:
    block = write_block(direction, {"command_id": id, "data": data})
    head = ("557a" if direction is UP else "aa75") + f"{id:02x}" + f"{len(hex) // 2:04x}" + "00"
    assert block[:-1].hex() == head + hex and checksum(block) == 0
    fields = read_block(direction, block)
    assert fields is not None and "error" not in fields
    assert write_block(direction, fields) == block
    assert _within(data, fields["data"])


def _within(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, dict):
        return all(_within(wanted[name], got[name]) for name in wanted)
    if isinstance(wanted, list):
        return len(wanted) == len(got) and all(map(_within, wanted, got))
    return bool(wanted == got)


def test_degrees() -> None:
    fields = read_block(UP, write_block(UP, {"command_id": 0x11, "data": SAMPLES[11][2]}))
    assert fields is not None
    place = fields["data"]["blocks"][0]["end_place"]
    assert place["longitude"] == pytest.approx(123.4315) and place["latitude"] == pytest.approx(41.8057)
    nowhere = SAMPLES[11][3][:-20] + "7fffffff" * 2 + "0000"
    fields = read_block(UP, write_block(UP, {"command_id": 0x11, "data": nowhere}))
    assert fields is not None and "longitude" not in fields["data"]["blocks"][0]["end_place"]


@given(st.sampled_from([UP, DOWN]), st.integers(0, 255), st.binary(max_size=400))
def test_any_data_is_fields_or_hex_and_is_written_back(direction: Direction, id: int, data: bytes) -> None:
    block = write_block(direction, {"command_id": id, "data": data})
    fields = read_block(direction, block)
    if fields is None:
        assert id in (0xFA, 0xFB)
        return
    again = write_block(direction, fields)
    assert read_block(direction, again) == fields or _text_was_padded(fields)


def _text_was_padded(fields: dict[str, Any]) -> bool:
    """NUL around texts is not kept, so what is written may have it at the other end."""
    return isinstance(fields.get("data"), dict) and "error" not in fields


@given(st.sampled_from([UP, DOWN]), st.binary(max_size=40))
def test_any_bytes_are_a_packet_or_none(direction: Direction, block: bytes) -> None:
    for bytes_ in (block, b"\x55\x7a" + block):
        fields = read_block(direction, bytes_)
        assert fields is None or write_block(direction, fields)[:3] == bytes_[:3]


def test_a_wrong_checksum_is_named_and_kept() -> None:
    block = bytes.fromhex("557a020006002601310815303b")
    fields = read_block(UP, block)
    assert (
        fields is not None
        and fields["error"] == f"checksum is 0x3b, of these bytes it is {checksum(block[:-1]):#04x}"
    )
    assert fields["data"] == {"time": TIME} and write_block(UP, fields) == block


def test_a_fault_has_neither_length_nor_data() -> None:
    block = bytes.fromhex("557afa00d5")
    fields = read_block(UP, block)
    assert fields == {
        "mark": "557a",
        "command_id": 0xFA,
        "command": "采集命令接收出错 reading refused",
        "reserved": 0,
        "checksum": 0xD5,
    }
    assert write_block(UP, fields) == block


def test_a_fault_with_data_is_written_back() -> None:
    """No recorder should send one, and what was read can be written all the same."""
    block = bytes.fromhex("557afa0002000102")
    block += bytes((checksum(block),))
    fields = read_block(UP, block)
    assert fields is not None and fields["data"] == "0102"
    assert write_block(UP, fields) == block


def test_what_no_packet_can_carry_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="command_id"):
        write_block(DOWN, {})
    with pytest.raises(LocalProtocolError, match="0x82"):
        write_block(UP, {"command_id": 0x82, "data": VEHICLE})
    with pytest.raises(LocalProtocolError, match="65535"):
        write_block(UP, {"command_id": 2, "data": bytes(65536)})
    with pytest.raises(ValueError, match="0x02 is declared twice"):
        command(0x02, "时间", "clock again")


@pytest.mark.parametrize("edition", list(Edition))
def test_messages_carry_packets(edition: Edition) -> None:
    ask = {"command_id": 8, "dvr": {"command_id": 8, "data": PERIOD}}
    body = encode_body(0x8700, edition, ask)
    assert body.hex().startswith("08aa7508000e00")
    fields = decode_body(0x8700, edition, body)
    assert isinstance(fields, dict) and fields["dvr"]["data"] == PERIOD
    assert fields["content_hex"] == body[1:].hex()
    assert encode_body(0x8700, edition, fields) == body


def test_what_is_no_packet_stays_hex() -> None:
    fields = decode_body(0x0700, Edition.E2013, bytes.fromhex("0002 02 3737373737"))
    assert fields == {"ack_serial": 2, "command_id": 2, "content_hex": "3737373737"}
