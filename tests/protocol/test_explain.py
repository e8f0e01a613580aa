"""Explanations: every byte once, values as decoding gives them, and what exactly is wrong."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from construct import Construct, Renamed
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.ciphers import Algorithm, Cipher, Padding, encipher
from protocol.connection import Terminal
from protocol.edition import Edition
from protocol.explain import Explanation, NotHex, explain, part_record, pieces_of, record
from protocol.frame import MAX_BODY, Frame, checksum, escape, unescape
from protocol.items import ITEMS
from protocol.jt809.message import MESSAGES as PLATFORM_MESSAGES
from protocol.meaning import chinese_and_english
from protocol.message import UP
from protocol.messages import MESSAGES, decode_body, encode_body
from protocol.messages.location import location
from protocol.parameters import PARAMETERS
from protocol.parts import Kind, Unit
from protocol.passthrough import PASSTHROUGHS
from protocol.profiles import PROFILES, STANDARD, profile_named
from protocol.recorder import COMMANDS, write_block
from tests.protocol.strategies import bodies, frames

EVERY = [(msg_id, edition) for msg_id in sorted(MESSAGES) for edition in Edition]
VECTORS = [
    json.loads(line)
    for path in sorted(Path(__file__).with_name("vectors").glob("*.jsonl"))
    for line in path.read_text("utf-8").splitlines()
]
NO_BYTES = {"layout", "error"}
"""Names of decoded fields that only say how something was read."""


def assert_covered(explanation: Explanation) -> None:
    """Every byte of the input stands in one field, in order, and every byte of a whole in one of its own."""
    units = explanation.units
    assert [unit.start for unit in units] == sorted(unit.start for unit in units)
    assert_cover([part for unit in units for part in unit.parts], len(explanation.data))
    for whole in explanation.wholes:
        assert_cover(whole.unit.parts, len(whole.data))


def assert_cover(parts: list[Any], length: int) -> None:
    at = 0
    for part in parts:
        assert 0 <= part.start <= part.end <= length
        if part.kind is Kind.FIELD:
            assert part.start == at, f"{part.path} begins at {part.start}, not at {at}"
            at = part.end
    assert at == length


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Decoded fields by path."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for name, field in value.items():
            found |= leaves(field, f"{path}.{name}" if path else name)
        return found
    if isinstance(value, list):
        return {p: v for n, field in enumerate(value) for p, v in leaves(field, f"{path}.{n}").items()}
    return {path: value}


def assert_explained(unit: Unit, fields: dict[str, Any]) -> None:
    """Every decoded value is in a part of the same path."""
    explained = {part.path: part.value for part in unit.parts if part.section == "body"}
    for path, value in leaves(fields).items():
        if path.rpartition(".")[2] not in NO_BYTES:
            assert path in explained, f"{path} is not explained: {sorted(explained)}"
            assert explained[path] == value, path


def wires(msg_id: int, edition: Edition, body: bytes) -> list[bytes]:
    terminal = Terminal("13912345678", edition)
    terminal.say(msg_id, body)
    return [b"\x7e" + content + b"\x7e" for content in terminal.data_to_send().split(b"\x7e") if content]


@pytest.mark.parametrize(("msg_id", "edition"), EVERY, ids=[f"{id:#06x}-{edition}" for id, edition in EVERY])
@given(data=st.data())
@settings(max_examples=10)
def test_every_byte_of_every_message_is_explained(msg_id: int, edition: Edition, data: st.DataObject) -> None:
    body = encode_body(msg_id, edition, data.draw(bodies(msg_id, edition)))
    explanation = explain(*wires(msg_id, edition, body), edition=edition)
    assert_covered(explanation)
    unit = explanation.wholes[0].unit if explanation.wholes else explanation.units[0]
    fields = decode_body(msg_id, Edition(unit.edition), body)
    if isinstance(fields, dict):
        assert_explained(unit, fields)
    json.dumps(record(explanation))


VARIANTS = [(type.id, name) for type in MESSAGES.values() for name in type.variants]


@pytest.mark.parametrize(("msg_id", "layout"), VARIANTS, ids=[f"{id:#06x} {name}" for id, name in VARIANTS])
@given(data=st.data())
@settings(max_examples=5)
def test_every_variant_is_explained_as_it_is_read(msg_id: int, layout: str, data: st.DataObject) -> None:
    fields = data.draw(bodies(msg_id, Edition.E2019, layout)) | {"layout": layout}
    body = encode_body(msg_id, Edition.E2019, fields)
    explanation = explain(*wires(msg_id, Edition.E2019, body))
    assert_covered(explanation)
    unit = explanation.wholes[0].unit if explanation.wholes else explanation.units[0]
    read = decode_body(msg_id, Edition.E2019, body)
    assert isinstance(read, dict)
    assert_explained(unit, read)
    assert ("other_layout" in codes(explanation)) == ("layout" in read)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_vectors_of_our_own_are_explained(vector: dict[str, Any]) -> None:
    pieces = vector["hex"] if isinstance(vector["hex"], list) else [vector["hex"]]
    explanation = explain(*map(bytes.fromhex, pieces), edition=Edition(vector["version"]))
    assert_covered(explanation)
    assert explanation.units[0].msg_id == int(vector["msg_id"], 16)
    assert explanation.units[0].terminal == vector["terminal"]


@given(
    st.binary(max_size=80) | frames().map(Frame.encode),
    st.lists(st.tuples(st.integers(0, 2000), st.sampled_from((0, 1, 0x7D, 0x7E, 0xFF))), max_size=4),
    st.binary(max_size=4),
)
def test_any_bytes_are_explained(data: bytes, changes: list[tuple[int, int]], more: bytes) -> None:
    broken = bytearray(data)
    for at, value in changes if broken else []:
        broken[at % len(broken)] = value
    for piece in (bytes(broken), bytes(broken) + more, bytes(broken[: len(broken) // 2])):
        explanation = explain(piece, edition=Edition.E2011)
        assert_covered(explanation)
        json.dumps(record(explanation))


@given(st.sampled_from(EVERY), st.binary(max_size=120) | st.binary(max_size=MAX_BODY))
def test_any_body_is_explained_as_it_is_read(kind: tuple[int, Edition], body: bytes) -> None:
    msg_id, edition = kind
    explanation = explain(*wires(msg_id, edition, body), edition=edition)
    assert_covered(explanation)
    unit = explanation.wholes[0].unit if explanation.wholes else explanation.units[0]
    fields = decode_body(msg_id, Edition(unit.edition), body)
    if isinstance(fields, dict):
        assert_explained(unit, fields)
    else:
        assert unit.findings


# What exactly is wrong

NOON = datetime(2026, 1, 31, 4, 0, tzinfo=UTC)
EXTRAS = {"0x01": 1234, "0x31": 9, "0x30": 0x7E}


def report(edition: Edition = Edition.E2013, **fields: Any) -> bytes:
    """A location report on the wire."""
    fields = {"extras": EXTRAS} | fields
    body = encode_body(0x0200, edition, location(41.8057, 123.4315, NOON, **fields))
    (wire,) = wires(0x0200, edition, body)
    return wire


def codes(explanation: Explanation) -> list[str]:
    return [finding.code for finding in explanation.findings]


def part(explanation: Explanation, path: str) -> Any:
    return next(part for unit in explanation.units for part in unit.parts if part.path == path)


def with_checksum(plain: bytes) -> bytes:
    return b"\x7e" + escape(plain + bytes((checksum(plain),))) + b"\x7e"


def test_a_right_frame_has_nothing_to_find_and_says_what_it_means() -> None:
    explanation = explain(report(alarm=1 << 0 | 1 << 31, speed_kmh=61.5))
    assert explanation.is_valid and not explanation.findings
    assert part(explanation, "speed_kmh").value == 61.5
    assert part(explanation, "speed_kmh").unit == "km/h"
    assert part(explanation, "alarm").clause == "JT/T 808-2013 §8.18"
    assert [bit.name for bit in part(explanation, "alarm").bits] == ["emergency", "illegal_door_opening"]
    mileage = part_record(part(explanation, "extras.0x01"), explanation.data)
    assert (mileage["quantity"], mileage["zh"], mileage["en"]) == ("123.4 km", "里程", "mileage")


def test_alarm_bits_are_those_of_the_edition() -> None:
    newer = explain(report(Edition.E2019, alarm=1 << 31 | 1 << 3))
    bits = {bit.bit: bit for bit in part(newer, "alarm").bits}
    assert bits[31].is_reserved and bits[3].name == "dangerous_driving"
    older = explain(report(alarm=1 << 3), edition=Edition.E2011)
    assert part(older, "alarm").bits[0].chinese == "预警"


def test_escapes_belong_to_the_byte_that_they_stand_for() -> None:
    explanation = explain(report())
    signal = part(explanation, "extras.0x30")
    assert (signal.value, signal.end - signal.start) == (0x7E, 2)
    assert explanation.data[signal.start : signal.end] == b"\x7d\x02"


def test_a_wrong_checksum_is_told_with_the_right_one() -> None:
    broken = bytearray(report())
    right = broken[-2]
    broken[-2] ^= 0x11
    (finding,) = explain(bytes(broken)).findings
    assert (finding.code, finding.start) == ("bad_checksum", len(broken) - 2)
    for sentence in (finding.zh, finding.en):
        assert f"0x{right:02X}" in sentence and f"0x{broken[-2]:02X}" in sentence


def test_a_bad_escape_is_told_with_its_place() -> None:
    wire = report()
    broken = wire[:20] + b"\x7d\x33" + wire[22:]
    finding = explain(broken).findings[0]
    assert (finding.code, finding.start, finding.end) == ("bad_escape", 20, 22)
    assert "0x33" in finding.en and "20" in finding.zh


def test_an_unescaped_checksum_is_accepted_and_told() -> None:
    frame = next(
        found for serial in range(256) if (found := Frame(0x0002, bytes(6), serial, b"").plain())[-1] == 0x7D
    )
    explanation = explain(b"\x7e" + frame + b"\x7e")
    assert codes(explanation) == ["unescaped_checksum"] and explanation.is_valid


def test_missing_bytes_are_counted() -> None:
    plain = bytes(Frame(0x0200, bytes(6), 1, bytes(28)).plain()[:-1])
    explanation = explain(with_checksum(plain[:-3]))
    assert codes(explanation) == ["bad_length", "unread"]
    length, unread = explanation.findings
    assert "28" in length.en and "25" in length.en and "3 are missing" in length.en
    assert "time" in unread.en and "6" in unread.en and "3" in unread.zh


def test_bytes_left_over_are_shown() -> None:
    plain = Frame(0x0003, bytes(6), 1, b"").plain()[:-1]
    explanation = explain(with_checksum(plain + b"abc"))
    assert codes(explanation) == ["bad_length"]
    assert part(explanation, "surplus").value == b"abc"


def test_a_frame_with_another_one_glued_behind_ends_at_its_checksum() -> None:
    plain = Frame(0x0003, bytes(6), 1, b"").plain()
    explanation = explain(b"\x7e" + plain + b"abc\x7e")
    assert part(explanation, "checksum").finding is None
    assert part(explanation, "surplus").value == b"abc"


def test_a_frame_that_is_cut_off_is_explained_as_far_as_it_goes() -> None:
    explanation = explain(report()[:30])
    assert {"bad_length", "unread", "no_closing_flag"} == set(codes(explanation))
    assert part(explanation, "alarm").value == 0
    tiny = explain(b"\x7e\x02")
    assert {"too_short", "unread", "no_closing_flag"} == set(codes(tiny))


def test_a_flag_that_was_not_escaped_does_not_cut_the_frame() -> None:
    wire = report().replace(b"\x7d\x02", b"\x7e")
    explanation = explain(wire)
    assert codes(explanation) == ["bare_flag"]
    assert part(explanation, "extras.0x30").value == 0x7E


def test_a_stream_is_taken_apart_and_its_garbage_shown() -> None:
    explanation = explain(b"ab" + report() + report()[1:] + b"\x7e" + report())
    assert [unit.protocol for unit in explanation.units] == ["", "808", "808", "", "808"]
    assert codes(explanation) == ["garbage"]
    assert_covered(explanation)


def test_frames_without_flags_are_understood() -> None:
    wire = report()
    escaped = explain(wire[1:-1])
    assert codes(escaped) == ["no_opening_flag", "no_closing_flag"]
    assert part(escaped, "time").value == NOON
    plain = explain(unescape(wire[1:-1]))
    assert codes(plain) == ["no_flags"] and plain.is_valid
    assert part(plain, "time").value == NOON


def test_pasted_hex_may_look_as_it_likes() -> None:
    wire = report()
    for text in (wire.hex(" "), wire.hex(":").upper(), "0x" + ", 0x".join(f"{byte:02x}" for byte in wire)):
        assert pieces_of(text) == [wire]
    dump = "\n".join(wire[at : at + 16].hex(" ") for at in range(0, len(wire), 16))
    assert pieces_of(dump) == [wire]
    assert pieces_of(f"{wire[1:-1].hex()}\n\n{wire[1:-1].hex()}\n") == 2 * [wire[1:-1]]
    for wrong in ("7e0", "7e 0g", "报警"):
        with pytest.raises(NotHex):
            pieces_of(wrong)


def test_unknown_items_and_items_of_a_wrong_length_are_told() -> None:
    explanation = explain(report(extras={"0x99": b"\1\2", "0x31": b"\1\2"}))
    assert codes(explanation) == ["unknown_item", "wrong_length"]
    assert part(explanation, "extras.0x99").value == b"\1\2"


def test_a_broken_chain_of_items_is_left_over() -> None:
    body = encode_body(0x0200, Edition.E2013, location(1, 1, NOON)) + b"\x01\x04\0\0\0\1\x30\x09\1"
    (wire,) = wires(0x0200, Edition.E2013, body)
    explanation = explain(wire)
    assert codes(explanation) == ["left_over"]
    assert part(explanation, "rest").value == b"\x30\x09\1"


def test_an_unknown_message_keeps_its_body() -> None:
    explanation = explain(Frame(0x0E42, bytes(6), 1, b"abc").encode())
    assert codes(explanation) == ["unknown_message"] and explanation.is_valid


def test_the_header_of_2013_under_bit_14_is_accepted_and_told() -> None:
    plain = bytearray(Frame(0x0002, bytes(6), 1, b"").plain()[:-1])
    plain[2] |= 0x40
    explanation = explain(with_checksum(bytes(plain)))
    assert codes(explanation) == ["header_of_2013"] and explanation.is_valid


def test_fragments_are_put_together_and_missing_ones_named() -> None:
    body = encode_body(0x0704, Edition.E2013, {"type": 0, "items": [location(1, 2, NOON) for _ in range(80)]})
    pieces = wires(0x0704, Edition.E2013, body)
    whole = explain(*reversed(pieces))
    assert whole.is_valid and whole.wholes[0].data == body
    assert_explained(whole.wholes[0].unit, decode_body(0x0704, Edition.E2013, body))  # type: ignore[arg-type]
    lost = explain(pieces[0], pieces[2])
    assert "fragments_missing" in codes(lost) and not lost.wholes
    assert any("fragments 2 of 3 are missing" in finding.en for finding in lost.findings)
    assert explain(b"".join(pieces)).wholes


def test_profiles_say_what_items_are() -> None:
    wire = report(extras={"0x61": b"\x04\xb0"})
    explanation = explain(wire, profile=profile_named("gps51"))
    voltage = part_record(part(explanation, "extras.0x61"), wire)
    assert (voltage["quantity"], voltage["zh"]) == ("12 V", "电压")
    assert codes(explain(wire)) == ["unknown_item"]


def test_encrypted_bodies_are_explained_where_the_key_is_known() -> None:
    ciphers = {2: Cipher(Algorithm.SM4, Padding.PKCS7, "key")}
    profile = replace(STANDARD, ciphers=ciphers)
    body = encode_body(0x0200, Edition.E2013, location(1, 2, NOON))
    plain = Frame(0x0200, bytes(6), 1, body)
    wire = encipher(plain, 2, ciphers, lambda name: bytes(16), nonce=bytes(16)).encode()
    assert codes(explain(wire)) == ["encrypted"]
    known = explain(wire, profile=profile, keys=lambda name: bytes(16))
    assert_covered(known)
    assert (known.wholes[0].reason, known.wholes[0].data) == ("deciphered", body)
    assert_explained(known.wholes[0].unit, decode_body(0x0200, Edition.E2013, body))  # type: ignore[arg-type]


def test_a_recorder_packet_is_taken_apart() -> None:
    block = write_block(UP, {"command_id": 0xC2, "data": b"", "reserved": 0})
    times = write_block(UP, {"command_id": 0x02, "data": bytes.fromhex("260131081530")})
    for packet in (block, times):
        body = encode_body(
            0x0700, Edition.E2013, {"ack_serial": 1, "command_id": 2, "content_hex": packet.hex()}
        )
        explanation = explain(*wires(0x0700, Edition.E2013, body))
        assert_covered(explanation)
        assert explanation.is_valid
        assert part(explanation, "dvr.checksum").value == packet[-1]
    assert part(explanation, "dvr.data.time").clause.startswith("GB/T 19056")


def declarations() -> Iterator[Any]:
    """Everything that is declared."""
    for terminals in MESSAGES.values():
        yield from (*terminals.layouts.values(), *terminals.variants.values())
    for platforms in PLATFORM_MESSAGES.values():
        yield from platforms.layouts.values()
    for own in (ITEMS, PARAMETERS, PASSTHROUGHS, COMMANDS):
        yield from (each.declaration for each in own.values())
    for profile in PROFILES.values():
        yield from (item.declaration for item in profile.items.values())


def fields_of(declaration: Any, seen: set[int]) -> Iterator[Any]:
    """Every named field of a declaration, however deep: what construct has wrapped it in for its docs."""
    if id(declaration) in seen:
        return
    seen.add(id(declaration))
    if isinstance(declaration, Renamed):
        yield declaration
        while isinstance(declaration, Renamed):
            declaration = declaration.subcon
    for value in vars(declaration).values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Construct):
                yield from fields_of(part, seen)


def test_every_field_says_in_chinese_what_it_means() -> None:
    seen: set[int] = set()
    for declaration in declarations():
        for field in fields_of(declaration, seen):
            zh, en = chinese_and_english(field.docs, field.name)
            assert zh != en, f"{field.name}: {field.docs}"
            assert "protocol." not in en
