"""Target: arbitrary bytes from another platform, JT/T 809.

Input: a byte that says what they are (bit 0: a stream, else a body; bit 1: its frames are mended; other bits:
the dialect), a byte that chooses the message of a body or the cut of a stream, and the bytes.
"""

from collections.abc import Iterator

from protocol.deframer import RejectedBytes
from protocol.errors import FrameError
from protocol.jsonl import decode_record
from protocol.jt809.cipher import Keys, apply
from protocol.jt809.dialect import Dialect
from protocol.jt809.framing import (
    CRC_SIZE,
    END,
    FLAGS_SIZE,
    MAX_FRAME,
    MIN_PLAIN,
    START,
    Deframer,
    Found,
    Frame,
    content_of,
    crc,
    escape,
    parse,
    unescape,
)
from protocol.jt809.message import ENVELOPE, GROUPS, MESSAGES, decode_body, encode_body
from protocol.jt809.peer import Peer
from protocol.message import Undecodable
from tests.fuzz.values import through_json, without_lengths
from tests.fuzz.vectors import vectors
from tests.protocol.strategies import cut

STREAM, MENDED = 0x01, 0x02
DIALECT_SHIFT = 2
IDS = sorted({*GROUPS, *(id for id in MESSAGES if id & 0xFF00 not in GROUPS), 0x1001 | 0x0E00})
"""What frames may be, and an id that nobody knows."""
KEYS = Keys(30_000_000, 20_000_000, 20_000_000)
PEERS = [Peer(210001, dialect, KEYS) for dialect in Dialect]
NEIGHBOUR = Frame(0x1005, 7, 210001, b"\x5a\x5b\x5d\x5e")
FOREVER = Deframer()
"""A link that never ends, so that whatever it piles up shows as memory."""


def seeds() -> Iterator[bytes]:
    wires = [wire for vector in vectors("jt809") for wire in vector["wires"]]
    for number, vector in enumerate(vectors("jt809")):
        dialect = list(Dialect).index(Dialect(vector["dialect"])) << DIALECT_SHIFT
        for wire in vector["wires"]:
            plain = unescape(content_of(wire))
            frame = parse(plain, is_2019=Dialect(vector["dialect"]).is_2019)
            yield bytes((dialect, IDS.index(frame.msg_id))) + frame.body
            yield bytes((dialect | STREAM, number % 256)) + wire + wires[number - 1]
            yield bytes((dialect | STREAM | MENDED, 0)) + wire
    yield b"\x01\x09" + NEIGHBOUR.encode()[:-1] + NEIGHBOUR.encode() + b"GET /\x5d"


def check(data: bytes) -> None:
    how, which = data[:2].ljust(2, b"\0")
    dialect = list(Dialect)[(how >> DIALECT_SHIFT) % len(Dialect)]
    if how & STREAM:
        _stream(data[2:], which, is_mended=bool(how & MENDED))
    else:
        _body(IDS[which % len(IDS)], dialect, data[2:])


def _stream(stream: bytes, mark: int, *, is_mended: bool) -> None:
    if is_mended:
        stream = START.join(map(mended, stream.split(START)))
    whole = _fed([stream])
    assert _fed([stream[at : at + 1] for at in range(len(stream))]) == whole
    assert _fed(cut(stream, [mark, 7 * mark])) == whole
    for found in whole[0]:
        if not isinstance(found, RejectedBytes):
            _read_by_every_peer(found)
    assert _fed([stream, NEIGHBOUR.encode()])[0][-1] == NEIGHBOUR.plain()
    through_json(decode_record({"id": 0, "protocol": "809", "hex": stream.hex()}))
    FOREVER.feed(stream)
    assert len(FOREVER.tail) <= MAX_FRAME + 1


def mended(piece: bytes) -> bytes:
    """Give what stands behind a start flag the length and the CRC that make it a frame."""
    content, end, behind = piece.partition(END)
    if len(content) < MIN_PLAIN:
        return piece
    plain = (len(content) + FLAGS_SIZE).to_bytes(4) + content[4:-CRC_SIZE]
    return escape(plain + crc(plain).to_bytes(CRC_SIZE)) + end + behind


def _fed(chunks: list[bytes]) -> tuple[list[Found], Deframer]:
    deframer = Deframer()
    found = []
    for chunk in chunks:
        found += deframer.feed(chunk)
    return found, deframer


def _read_by_every_peer(plain: bytes) -> None:
    for peer in PEERS:
        try:
            frame, fields = peer.read(plain)
        except FrameError as error:
            assert peer.dialect.is_2019 and error.reason == "too_short"
            continue
        assert frame.plain() == plain
        assert apply(apply(frame.body, frame.encrypt_key, KEYS), frame.encrypt_key, KEYS) == frame.body
        through_json(fields if isinstance(fields, dict) else fields.error)


def _body(id: int, dialect: Dialect, body: bytes) -> None:
    """What was read is written, by way of JSON too, and read again. Padding and lengths may become the
    standard's, but from the first writing on the bytes stay as they are."""
    fields = decode_body(id, dialect, body)
    if isinstance(fields, Undecodable):
        assert fields.raw == body and fields.error
        return
    written = encode_body(id, dialect, fields)
    assert encode_body(id, dialect, through_json(fields)) == written, fields
    if ENVELOPE in fields and written != body:
        return  # by rule, from all of its bytes: with less padding another envelope may be the likelier one
    again = decode_body(id, dialect, written)
    assert isinstance(again, dict) and encode_body(id, dialect, again) == written, (fields, again)
    assert without_lengths(again) == without_lengths(fields), (fields, again)
