"""Media packets: every kind of data, both widths of the SIM card's number, any chunking."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.deframer import RejectedBytes
from protocol.errors import BodyError, LocalProtocolError
from protocol.media import (
    MARK,
    MAX_PACKET,
    SIM_BYTES,
    SIM_BYTES_2019,
    MediaDeframer,
    decode_packet,
    encode_packet,
)
from tests.protocol.strategies import cut

KEY_FRAME = {
    "label2": 0x80 | 98,
    "sequence": 7,
    "sim": "013912345678",
    "channel": 1,
    "label3": 0x01,
    "timestamp_ms": 1769818530000,
    "last_i_frame_interval": 0,
    "last_frame_interval": 40,
    "payload_hex": "0000000165",
}


@st.composite
def packets(draw: Any, sim_bytes: int = SIM_BYTES) -> dict[str, Any]:
    kind = draw(st.integers(0, 4))
    fields = {
        "label2": draw(st.integers(0, 255)),
        "sequence": draw(st.integers(0, 65535)),
        "sim": draw(st.text("0123456789", min_size=2 * sim_bytes, max_size=2 * sim_bytes)),
        "channel": draw(st.integers(0, 255)),
        "label3": kind << 4 | draw(st.integers(0, 3)),
        "payload_hex": draw(st.binary(max_size=60)).hex(),
    }
    if kind != 4:
        fields["timestamp_ms"] = draw(st.integers(0, 2**64 - 1))
    if kind < 3:
        fields |= {"last_i_frame_interval": draw(st.integers(0, 65535)), "last_frame_interval": 40}
    return fields


def test_a_packet_by_the_standard() -> None:
    wire = bytes.fromhex("3031636481e2000701391234567801010000019c11a95ed0000000280005") + bytes.fromhex(
        "0000000165"
    )
    assert encode_packet(KEY_FRAME | {"timestamp_ms": 0x19C11A95ED0}) == wire
    fields = decode_packet(wire)
    assert (fields["is_frame_end"], fields["payload_type"]) == (True, 98)
    assert (fields["data_type"], fields["part"], fields["body_length"]) == (0, 1, 5)


def test_the_number_of_the_card_has_ten_bytes_in_guangdong() -> None:
    wire = encode_packet(KEY_FRAME | {"sim": "13912345678"}, SIM_BYTES_2019)
    assert len(wire) == len(encode_packet(KEY_FRAME)) + 4
    assert decode_packet(wire, SIM_BYTES_2019)["sim"] == "00000000013912345678"


@given(st.sampled_from((SIM_BYTES, SIM_BYTES_2019)), st.data())
def test_every_packet_reads_what_it_writes(sim_bytes: int, data: st.DataObject) -> None:
    fields = data.draw(packets(sim_bytes))
    wire = encode_packet(fields, sim_bytes)
    read = decode_packet(wire, sim_bytes)
    assert fields.items() <= read.items()
    assert encode_packet(read, sim_bytes) == wire
    with pytest.raises(BodyError):
        decode_packet(wire[:-1], sim_bytes)


@given(
    st.lists(packets().map(encode_packet) | st.binary(max_size=50), max_size=6), st.lists(st.integers(0, 900))
)
def test_chunking_does_not_matter(parts: list[bytes], marks: list[int]) -> None:
    stream = b"".join(parts)
    deframer = MediaDeframer()
    events = [event for chunk in cut(stream, marks) for event in deframer.feed(chunk)]
    assert events == MediaDeframer().feed(stream)
    assert len(deframer.tail) < MAX_PACKET


def test_garbage_between_packets_costs_itself_only() -> None:
    wire = encode_packet(KEY_FRAME)
    first, garbage, second = MediaDeframer().feed(wire + b"01c" + wire)
    assert first == second == decode_packet(wire)
    assert garbage == RejectedBytes("garbage", b"01c")
    events = MediaDeframer().feed(bytes(2 * MAX_PACKET) + MARK)
    assert sum(len(event.raw) for event in events if isinstance(event, RejectedBytes)) == 2 * MAX_PACKET


def test_what_no_packet_can_carry_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        encode_packet(KEY_FRAME | {"payload_hex": "00" * 65536})
    with pytest.raises(LocalProtocolError, match="sequence"):
        encode_packet({name: value for name, value in KEY_FRAME.items() if name != "sequence"})
