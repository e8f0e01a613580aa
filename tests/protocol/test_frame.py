"""Frames: header, escapes, checksum, and what is wrong with a bad one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import (
    FRAME_ERRORS,
    BadChecksum,
    BadEscape,
    BadLength,
    FrameError,
    LocalProtocolError,
    TooShort,
)
from protocol.frame import (
    MAX_BODY,
    MAX_FRAME,
    Frame,
    checksum,
    escape,
    identity_of,
    parse,
    raw_id_of,
    unescape,
)
from tests.protocol.strategies import frames

HEARTBEAT = Frame(0x0002, bytes.fromhex("013912345678"), 7, b"")


def sealed(data: bytes) -> bytes:
    """Append the checksum."""
    return data + bytes((checksum(data),))


@given(frames())
def test_a_frame_comes_back_from_its_wire(frame: Frame) -> None:
    wire = frame.encode()
    content = wire[1:-1]
    assert wire[0] == wire[-1] == 0x7E and 0x7E not in content
    assert len(content) <= MAX_FRAME
    back = parse(unescape(content))
    assert back.encode() == wire
    assert (back.msg_id, back.raw_id, back.serial, back.body) == (
        frame.msg_id,
        frame.raw_id,
        frame.serial,
        frame.body,
    )
    assert (back.version, back.fragment, back.is_2019) == (
        frame.version,
        frame.fragment,
        frame.version is not None,
    )


@given(st.binary(max_size=2000))
def test_escaping_is_undone(plain: bytes) -> None:
    assert 0x7E not in escape(plain)
    assert unescape(escape(plain)) == plain


def test_escapes_are_made_and_undone_in_the_order_that_keeps_them_apart() -> None:
    assert escape(bytes.fromhex("7d7e7d02")) == bytes.fromhex("7d017d027d0102")
    assert unescape(bytes.fromhex("7d0102")) == bytes.fromhex("7d02")  # not 7e: the 7d was escaped itself


@pytest.mark.parametrize("content", ["7d0000", "7d7d01", "007d7d", "7d03ff"])
def test_an_unknown_escape_is_refused(content: str) -> None:
    with pytest.raises(BadEscape):
        unescape(bytes.fromhex(content))


@given(st.binary(max_size=300))
def test_the_checksum_is_the_exclusive_or(data: bytes) -> None:
    expected = 0
    for byte in data:
        expected ^= byte
    assert checksum(data) == expected


def test_header_fields_stand_where_the_standard_has_them() -> None:
    assert HEARTBEAT.plain()[:-1].hex() == "0002" + "0000" + "013912345678" + "0007"
    new = Frame(0x0002, bytes.fromhex("00000000013912345678"), 7, b"", version=1)
    assert new.plain()[:-1].hex() == "00024000" + "01" + "00000000013912345678" + "0007"
    part = Frame(0x0704, HEARTBEAT.raw_id, 7, b"ab", fragment=(3, 2))
    assert part.plain()[:-1].hex() == "07042002" + "013912345678" + "0007" + "00030002" + "6162"


def test_the_cipher_is_bits_10_to_12_of_the_attributes() -> None:
    frame = parse(Frame(0x0200, HEARTBEAT.raw_id, 1, b"x" * 28, attributes=0x0400).plain())
    assert frame.cipher == 1 and frame.body == b"x" * 28


def test_identity_is_the_id_without_leading_zeros() -> None:
    assert identity_of(bytes.fromhex("013912345678")) == "13912345678"
    assert identity_of(bytes.fromhex("00000000013912345678")) == "13912345678"
    assert identity_of(bytes.fromhex("0a00000000ff")) == "A00000000FF"
    assert identity_of(bytes(6)) == "0"
    assert raw_id_of("13912345678", is_2019=False).hex() == "013912345678"
    assert raw_id_of("13912345678", is_2019=True).hex() == "00000000013912345678"


@pytest.mark.parametrize("identity", ["1234567890123", "no digits"])
def test_an_identity_that_no_header_can_carry_is_our_own_mistake(identity: str) -> None:
    with pytest.raises(LocalProtocolError, match=identity):
        raw_id_of(identity, is_2019=False)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(0x0200, bytes(6), 0, bytes(MAX_BODY + 1)),
        Frame(0x0200, bytes(10), 0, b""),
        Frame(0x0200, bytes(6), 0, b"", version=1),
    ],
)
def test_a_frame_that_no_header_can_carry_is_our_own_mistake(frame: Frame) -> None:
    with pytest.raises(LocalProtocolError):
        frame.encode()


def test_every_fault_has_its_error() -> None:
    plain = HEARTBEAT.plain()
    with pytest.raises(TooShort):
        parse(plain[1:])
    with pytest.raises(BadChecksum):
        parse(plain[:-1] + bytes((plain[-1] ^ 1,)))
    with pytest.raises(BadLength):
        parse(sealed(plain[:-1] + b"x"))
    with pytest.raises(BadLength):  # bit 13 promises four bytes that are not there
        parse(sealed(b"\x00\x02\x20\x00" + bytes(8)))
    with pytest.raises(TooShort):  # a 2019 header has 17 bytes
        parse(sealed(b"\x00\x02\x40\x00" + bytes(10)))


def test_errors_name_their_reason_and_say_a_sentence() -> None:
    assert {reason: error.reason for reason, error in FRAME_ERRORS.items()} == {r: r for r in FRAME_ERRORS}
    assert str(TooShort("3 bytes")) == "Too few bytes for a header and a checksum. (3 bytes)"
    assert issubclass(BadEscape, FrameError)


def test_bit_14_on_a_2013_header_is_read_as_2013() -> None:
    """Some devices announce the 2019 header and send the old one (C16 of the shared vectors)."""
    plain = sealed(bytes.fromhex("0002" + "4000" + "013912345678" + "0007"))
    frame = parse(plain)
    assert not frame.is_2019 and frame.identity == "13912345678" and frame.serial == 7
    assert frame.plain() == plain  # the odd bit is kept

    located = parse(sealed(bytes.fromhex("0200" + "401c" + "013912345678" + "0007") + bytes(28)))
    assert not located.is_2019 and len(located.body) == 28


@given(st.binary(max_size=60))
def test_any_bytes_give_a_frame_or_a_frame_error(plain: bytes) -> None:
    for candidate in (plain, sealed(plain)):
        try:
            frame = parse(candidate)
        except FrameError:
            continue
        assert frame.plain() == candidate
