"""Target: arbitrary bytes in arbitrary chunks on a link.

Input: a byte that says whether the frames are mended and how many cuts there are, two bytes for each cut, and
the stream.
"""

from collections.abc import Iterator

from protocol.columns import scan
from protocol.connection import Connection, Event, Received, Role
from protocol.deframer import Deframer, PlainFrame, RejectedBytes
from protocol.frame import (
    BIT_2019,
    FRAGMENT_BIT,
    LENGTH_BITS,
    MAX_FRAME,
    MIN_PLAIN_2013,
    MIN_PLAIN_2019,
    Frame,
    checksum,
    escape,
)
from protocol.jsonl import decode_record
from tests.fuzz.values import through_json
from tests.fuzz.vectors import vectors
from tests.protocol.strategies import cut
from tests.protocol.test_columns_scan import same

FLAG = b"\x7e"
MENDED = 0x01
MOST_CUTS = 7
NEIGHBOUR = Frame(0x0200, bytes.fromhex("013912345678"), 5, bytes.fromhex("7d017e02") * 7)
WIRE = NEIGHBOUR.encode()
OTHER_SIDE = {Role.PLATFORM: Role.TERMINAL, Role.TERMINAL: Role.PLATFORM}

FOREVER = {role: Connection(role) for role in Role}
"""Links that never end, so that whatever a link piles up shows as memory."""


def seeds() -> Iterator[bytes]:
    wires = [wire for vector in vectors("protocol") for wire in vector["wires"]]
    for number, wire in enumerate(wires):
        yield bytes((number % 2, *wire))
        yield b"\x06" + bytes((0, number % 256, 1, 0, 2, 0)) + wire + wires[number - 1][1:]
    plain = NEIGHBOUR.plain()
    yield b"\0GET / HTTP/1.1\r\n\r\n" + WIRE
    yield b"\0" + FLAG + escape(plain[:-2]) + bytes((plain[-2] ^ plain[-1] ^ 0x7D, 0x7D)) + FLAG
    yield b"\0" + FLAG + b"x" * (MAX_FRAME + 1) + FLAG + WIRE
    yield b"\0" + Frame(0x0200, bytes(10), 9, b"\x7e" * 1023, 1, (3, 2)).encode()


def check(data: bytes) -> None:
    stream, chunks = drawn(data)
    _frames_are_the_same_in_any_chunks(stream, chunks)
    for role in Role:
        _both_sides_understand(role, stream, chunks)
    _neighbours_are_unharmed(stream)
    through_json(decode_record({"id": 0, "hex": stream.hex()}))


def drawn(data: bytes) -> tuple[bytes, list[bytes]]:
    """Give the stream of an input, and its chunks."""
    flags, data = data[:1], data[1:]
    how = flags[0] if flags else 0
    cuts = 2 * (how >> 1 & MOST_CUTS)
    marks = [int.from_bytes(data[at : at + 2]) for at in range(0, cuts, 2)]
    stream = data[cuts:]
    if how & MENDED:
        stream = FLAG.join(map(mended, stream.split(FLAG)))
    return stream, cut(stream, marks)


def mended(piece: bytes) -> bytes:
    """Give what stands between two flags the length and the checksum that make it a frame: arbitrary bytes
    hardly ever have them."""
    attributes = int.from_bytes(piece[2:4])
    smallest = MIN_PLAIN_2019 if attributes & BIT_2019 else MIN_PLAIN_2013
    length = len(piece) - smallest - (4 if attributes & FRAGMENT_BIT else 0)
    if not 0 <= length <= LENGTH_BITS:
        return piece
    plain = piece[:2] + (attributes & ~LENGTH_BITS | length).to_bytes(2) + piece[4:-1]
    return escape(plain + bytes((checksum(plain),)))


def _bytewise(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def _fed(chunks: list[bytes]) -> tuple[list[PlainFrame | RejectedBytes], bytes]:
    deframer = Deframer()
    found = []
    for chunk in chunks:
        found += deframer.feed(chunk)
        assert len(deframer.tail) <= MAX_FRAME + 2
    return found, deframer.tail


def _frames_are_the_same_in_any_chunks(stream: bytes, chunks: list[bytes]) -> None:
    whole = _fed([stream])
    assert _fed(_bytewise(stream)) == whole
    assert _fed(chunks) == whole
    deframers, tails = [Deframer()], [b""]
    for chunk in chunks:
        tails = same(tails, deframers, [chunk])
    assert tails == [whole[1]]
    same([b"", b""], [Deframer(), Deframer()], [stream, stream])


def _both_sides_understand(role: Role, stream: bytes, chunks: list[bytes]) -> None:
    """Receive, answer everything, and let the other side read the answers."""
    link = Connection(role)
    events = link.receive(stream, 1.0)
    chunked = Connection(role)
    again: list[Event] = [event for chunk in chunks for event in chunked.receive(chunk, 1.0)]
    assert again == events
    FOREVER[role].receive(stream, 1.0)
    received = [event for event in events if isinstance(event, Received)]
    for event in received:
        fields = event.fields()
        through_json(fields if isinstance(fields, dict) else fields.error)
        link.reply(event.frame)
        FOREVER[role].reply(event.frame)
    answers = Connection(OTHER_SIDE[role]).receive(link.data_to_send(), 1.0)
    answered = [
        (answer.frame.raw_id, answer.fields()["ack_serial"], answer.fields()["ack_msg_id"])
        for answer in answers
    ]
    assert answered == [(each.frame.raw_id, each.frame.serial, each.frame.msg_id) for each in received]
    FOREVER[role].data_to_send()


def _neighbours_are_unharmed(stream: bytes) -> None:
    """A frame behind whatever came survives, and so do those of other links in the same scan."""
    assert _fed([stream, FLAG, WIRE])[0][-1] == PlainFrame(NEIGHBOUR.plain())
    wire = scan([WIRE, stream, WIRE])
    for source in (0, 2):
        (row,) = (wire.source == source).nonzero()[0].tolist()
        assert wire.frames.plain(row) == NEIGHBOUR.plain() and wire.tails[source] == FLAG
    assert all(each.source == 1 for each in wire.rejected)
