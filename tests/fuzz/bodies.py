"""Target: arbitrary bytes as the body of every message, and as everything else that is declared.

Input: a byte that chooses the reader (`READERS`), three that choose what it reads, and the bytes to read.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from protocol.attachments import AttachmentDeframer, Upload
from protocol.attachments import encode_packet as attachment_packet
from protocol.body import read, write
from protocol.ciphers import Algorithm, Cipher, Mode, Padding
from protocol.columns import body_hashes, locations
from protocol.columns.chains import FEW
from protocol.edition import Edition
from protocol.errors import BodyError
from protocol.frame import CIPHER_SHIFT, MAX_BODY, MAX_FRAME, Frame, checksum, parse, unescape
from protocol.items import ITEMS
from protocol.media import MAX_PACKET, SIM_BYTES, SIM_BYTES_2019, MediaDeframer
from protocol.media import encode_packet as media_packet
from protocol.message import DOWN, LAYOUT, UP
from protocol.messages import MESSAGES, Undecodable, decode_body, decode_frame, encode_body
from protocol.parameters import PARAMETERS
from protocol.passthrough import PASSTHROUGHS
from protocol.profile import STANDARD
from protocol.profiles import PROFILES
from protocol.recorder import COMMANDS, TO_RECORDER, read_block, write_block
from tests.fuzz.values import through_json, without_lengths
from tests.fuzz.vectors import vectors
from tests.protocol.strategies import cut
from tests.protocol.test_attachments import joined
from tests.protocol.test_columns_locations import batch_of, expected
from tests.protocol.test_columns_locations import check as check_columns

HEAD = 4
IDS = sorted(MESSAGES)
KNOWN = list(PROFILES.values())
DECLARATIONS = [
    declared.declaration
    for registry in (ITEMS, *(profile.items for profile in KNOWN), PARAMETERS, PASSTHROUGHS, COMMANDS)
    for declared in registry.values()
]
CIPHERED = replace(
    STANDARD,
    ciphers={
        1: Cipher(Algorithm.RSA, Padding.PKCS1, "rsa"),
        2: Cipher(Algorithm.SM4, Padding.PKCS7, "sm4"),
        3: Cipher(Algorithm.SM4, Padding.NONE, "sm4", Mode.CBC, "prefix"),
        4: Cipher(Algorithm.SM4, Padding.ZERO, "sm4", Mode.CTR),
        5: Cipher(Algorithm.SM4, Padding.NONE, "sm4"),
        6: Cipher(Algorithm.SM4, Padding.NONE, "nowhere"),
    },
)
KEYS = {"sm4": bytes(range(16)), "rsa": b"no key at all"}
NEIGHBOUR = bytes(28) + b"\x01\x04\0\0\0\x07"
"""A location report with its mileage, 0.7 km."""


def seeds() -> Iterator[bytes]:
    for number, vector in enumerate(vectors("protocol")):
        edition = list(Edition).index(Edition(vector["version"]))
        body = b"".join(parse(unescape(wire[1:-1])).body for wire in vector["wires"])
        index = IDS.index(int(vector["msg_id"], 16))
        yield bytes((0, index, edition, 0)) + body
        yield bytes((1, index, edition, number % 8)) + body
        if vector["msg_id"] in ("0x0200", "0x0704"):
            yield bytes((2, number % 2, vector["msg_id"] == "0x0704", 0)) + body
        if vector["msg_id"] in ("0x0700", "0x8700", "0x8701"):
            yield bytes((4, vector["msg_id"] != "0x0700", 0, 0)) + body[2:]
            yield bytes((4, vector["msg_id"] != "0x0700", 1, 0)) + body[3:]
    yield b"\x04\0\x01\0" + b"\xfa\x01\x02"  # a fault that carries data
    for index in range(len(DECLARATIONS)):
        yield bytes((3, *index.to_bytes(2), 0)) + bytes(range(48))
    parts = attachment_packet("a.jpg", 7, b"\x7e01cd" * 9) + Frame(0x1212, bytes(6), 1, b"\x01a").encode()
    yield b"\x05\x20\x40\0" + parts
    media = {"label2": 98, "sequence": 1, "sim": "1", "channel": 1, "payload_hex": "00" * 9}
    times = {"timestamp_ms": 9, "last_i_frame_interval": 1, "last_frame_interval": 2}
    for kind in (0, 3, 4):
        yield b"\x06\0\x20\x40" + media_packet(media | times | {"label3": kind << 4})


def check(data: bytes) -> None:
    head = data[:HEAD].ljust(HEAD, b"\0")
    READERS[head[0] % len(READERS)](head, data[HEAD:])


def _message(head: bytes, body: bytes) -> None:
    msg_id, edition, profile = _kind(head)
    fields = decode_body(msg_id, edition, body, profile=profile)
    if isinstance(fields, Undecodable):
        assert fields.raw == body and fields.error
        assert encode_body(msg_id, edition, fields) == body
        return

    def encoded(fields: dict[str, Any]) -> bytes:
        return encode_body(msg_id, edition, fields, profile=profile)

    if LAYOUT in fields and encoded(fields) != body:
        return  # by rule, from all of its bytes: with less padding its own layout may fit after all
    _same_when_read_again(fields, encoded, lambda body: decode_body(msg_id, edition, body, profile=profile))


def _same_when_read_again(
    value: Any, encoded: Callable[[Any], bytes], decoded: Callable[[bytes], Any]
) -> None:
    """What was read is written, by way of JSON too, and read again. Padding and the lengths that count it may
    become the standard's, but from the first writing on the bytes stay as they are."""
    body = encoded(value)
    again = decoded(body)
    assert encoded(again) == body, (value, again)
    assert encoded(through_json(value)) == body or _has_blank_text(value), value
    assert without_lengths(again) == without_lengths(value), (value, again)


def _has_blank_text(value: Any) -> bool:
    """A parameter of NUL, whose hex JSON cannot tell from digits that are its text."""
    params = value.get("params", {}) if isinstance(value, dict) else {}
    return any(isinstance(each, bytes) and not each.strip(b"\0") for each in params.values())


def _kind(head: bytes) -> tuple[int, Edition, Any]:
    editions = list(Edition)
    edition = editions[head[2] % len(editions)]
    return IDS[head[1] % len(IDS)], edition, KNOWN[head[2] // len(editions) % len(KNOWN)]


def _frame(head: bytes, body: bytes) -> None:
    """A frame that is encrypted, or a fragment."""
    msg_id, edition, _ = _kind(head)
    fragment = (3, 2) if head[3] & 8 else None
    attributes = (head[3] & 7) << CIPHER_SHIFT
    frame = Frame(msg_id, bytes(6), 1, body[:MAX_BODY], None, fragment, attributes)
    fields = decode_frame(frame, edition, profile=CIPHERED, keys=KEYS.__getitem__)
    through_json(fields if isinstance(fields, dict) else fields.error)


def _locations(head: bytes, body: bytes) -> None:
    """Columns are what construct reads, and reports beside are read as ever. By loops, and by steps."""
    other = body[:MAX_BODY]
    messages = [(0x0200, NEIGHBOUR), (0x0704 if head[2] & 1 else 0x0200, other), (0x0200, NEIGHBOUR)]
    messages *= FEW + 1 if head[1] & 1 else 1
    positions = locations(batch_of(messages))
    found = expected(messages)
    assert positions.row.tolist() == [row for row, _, _ in found]
    assert positions.batch_type.tolist() == [batch_type for _, batch_type, _ in found]
    for index, (row, _, fields) in enumerate(found):
        if row < 6:  # the others are the same
            check_columns(positions, index, fields)
    last = (positions.row == len(messages) - 1).nonzero()[0]
    assert positions.mileage_km[last].tolist() == [0.7]
    assert len(body_hashes(positions)) == len(found)
    assert all(each.row % 3 == 1 for each in positions.bad)
    assert np.isfinite(positions.speed_kmh).all()


def _declaration(head: bytes, value: bytes) -> None:
    """An item, a parameter, a content that is passed through, or data of the recorder, by itself."""
    declaration = DECLARATIONS[int.from_bytes(head[1:3]) % len(DECLARATIONS)]
    known = {"edition": list(Edition)[head[3] % len(Edition)]}
    try:
        fields = read(declaration, value, **known)
    except BodyError:
        return
    _same_when_read_again(
        fields,
        lambda fields: write(declaration, fields, **known),
        lambda value: read(declaration, value, **known),
    )


def _recorder(head: bytes, block: bytes) -> None:
    direction = DOWN if head[1] & 1 else UP
    if head[2] & 1 and block:  # mended: arbitrary bytes hardly ever have length and checksum
        block = TO_RECORDER + block[:1] + (len(block) - 1).to_bytes(2) + b"\0" + block[1:]
        block += bytes((checksum(block),))
    fields = read_block(direction, block)
    if fields is not None:
        _same_when_read_again(
            fields,
            lambda fields: write_block(direction, fields),
            lambda block: read_block(direction, block),
        )


def _attachments(head: bytes, stream: bytes) -> None:
    def fed(chunks: list[bytes]) -> tuple[list[Any], Any]:
        deframer = AttachmentDeframer()
        events = []
        for chunk in chunks:
            events += deframer.feed(chunk)
            assert len(deframer.tail) <= MAX_FRAME + 2
        return joined(events), deframer

    whole = fed([stream])
    assert fed([stream[at : at + 1] for at in range(len(stream))]) == whole
    assert fed(cut(stream, [16 * each for each in head[1:]])) == whole
    upload = Upload(0xFFFF)
    for at in range(0, len(stream), 4):
        upload.add(int.from_bytes(stream[at : at + 2]), int.from_bytes(stream[at + 2 : at + 4]))
    for gap in upload.missing():
        upload.add(gap["offset"], gap["length"])
    assert upload.is_complete or len(upload.ranges) > 1


def _media(head: bytes, stream: bytes) -> None:
    def fed(chunks: list[bytes]) -> tuple[list[Any], Any]:
        deframer = MediaDeframer(SIM_BYTES_2019 if head[1] & 1 else SIM_BYTES)
        events = []
        for chunk in chunks:
            events += deframer.feed(chunk)
            assert len(deframer.tail) < MAX_PACKET
        return events, deframer

    whole = fed([stream])
    assert fed([stream[at : at + 1] for at in range(len(stream))]) == whole
    assert fed(cut(stream, [16 * each for each in head[2:]])) == whole


READERS = (_message, _frame, _locations, _declaration, _recorder, _attachments, _media)
