"""Work is linear in the bytes that ask for it, for everything that is declared.

Work is counted (`tests.protocol.work`), never timed: twice the bytes ask for at most `GROWTH` times of it.
The shapes of bodies know nothing of the declarations, so a new message is tried by being declared.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from random import Random
from typing import Any, Final

import pytest

from protocol.attachments import AttachmentDeframer, Upload
from protocol.body import MAX_FIELDS, read
from protocol.deframer import Deframer
from protocol.edition import Edition
from protocol.errors import BodyError
from protocol.explain import MAX_FLAGS, explain, record
from protocol.frame import Frame, divide
from protocol.items import ITEMS
from protocol.jsonl import decode_record
from protocol.jt809.framing import Deframer as PlatformDeframer
from protocol.jt809.message import GROUPS
from protocol.jt809.message import MESSAGES as PLATFORM_MESSAGES
from protocol.jt809.message import decode_body as decode_platform_body
from protocol.media import MediaDeframer
from protocol.message import MessageType
from protocol.messages import MESSAGES, Undecodable, decode_body
from protocol.parameters import PARAMETERS
from protocol.passthrough import PASSTHROUGHS
from protocol.profiles import PROFILES, STANDARD
from protocol.reassembly import first_missing
from protocol.recorder import COMMANDS
from tests.protocol.work import allocated_by, steps_of

GROWTH: Final = 2.5
"""Twice the work, and what tables and lists grow by in steps."""

Count = Callable[[Callable[[], object]], int]
FEW: Final[dict[Count, int]] = {steps_of: 2_000, allocated_by: 200_000}
"""Less work than this is not compared: there the fixed part of a message rules."""

SIZES: Final = {"gate": 256, "explore": 16 << 10}
"""Bytes of the smaller body."""

LARGEST: Final = 4 << 20
"""Bytes of a message that is put together."""

Shape = Callable[[int], bytes]


def repeated(pattern: bytes) -> Shape:
    """Bodies of one pattern: a count of it and an id without a length are among its readings."""
    return lambda size: (pattern * (size // len(pattern) + 1))[:size]


def counted(width: int) -> Shape:
    """Bodies whose first number asks for as many entries as there are bytes."""
    return lambda size: min(size, (1 << 8 * width) - 1).to_bytes(width) + repeated(b"\0\1")(size - width)


def nested(size: int) -> bytes:
    """Lengths that each reach to the end."""
    return b"".join(min(size - at, 0xFFFF).to_bytes(2) for at in range(0, size, 2))


SHAPES: Final[dict[str, Shape]] = {
    "zeros": bytes,
    "ones": repeated(b"\xff"),
    "an id without a value": repeated(b"\1\0"),
    "a parameter without a value": repeated(b"\0\0\0\1\0"),
    "one byte each": repeated(b"\0\1"),
    "many of one byte": counted(1),
    "many of two bytes": counted(2),
    "a serial, then many": lambda size: b"\0\1" + counted(2)(size - 2),
    "nested": nested,
    "random": lambda size: Random(8).randbytes(size),
}


@pytest.fixture(scope="module")
def size(request: pytest.FixtureRequest) -> int:
    profile = request.config.getoption("--hypothesis-profile") or "gate"
    return SIZES.get(profile, SIZES["gate"])


def assert_linear(call: Callable[[bytes], object], shape: Shape, size: int) -> None:
    assert_grows_with(steps_of, call, shape, size)
    if size >= SIZES["explore"]:  # what is copied shows beside what objects take only where it is much
        assert_grows_with(allocated_by, call, shape, size)


def assert_grows_with(count: Count, call: Callable[[bytes], object], shape: Shape, size: int) -> None:
    found = []
    for larger in (size, 4 * size):  # a length that fits from some size on is one step, and no growth
        twice = count(partial(call, shape(2 * larger)))
        if twice <= FEW[count] or twice <= GROWTH * count(partial(call, shape(larger))):
            return
        found.append((2 * larger, twice))
    pytest.fail(f"{count.__name__} grows with the square: {found}")


def editions(declared: MessageType) -> Iterator[Edition]:
    """Give those whose layouts differ."""
    seen: list[Any] = []
    for edition in Edition:
        if declared.layout(edition) not in seen:
            seen.append(declared.layout(edition))
            yield edition


@pytest.mark.parametrize("msg_id", sorted(MESSAGES), ids=hex)
@pytest.mark.parametrize("name", SHAPES)
def test_bodies(msg_id: int, name: str, size: int) -> None:
    profiles = PROFILES.values() if msg_id == 0x0200 else [STANDARD]
    for edition, profile in product(editions(MESSAGES[msg_id]), profiles):
        assert_linear(
            lambda body, edition=edition, profile=profile: decode_body(
                msg_id, edition, body, profile=profile
            ),
            SHAPES[name],
            size,
        )


@pytest.mark.parametrize("msg_id", sorted(PLATFORM_MESSAGES), ids=hex)
@pytest.mark.parametrize("name", ["ones", "many of two bytes", "nested", "random"])
def test_bodies_between_platforms(msg_id: int, name: str, size: int) -> None:
    group = msg_id & 0xFF00
    for dialect in PLATFORM_MESSAGES[msg_id].dialects:

        def decode(body: bytes, dialect: Any = dialect) -> object:
            if group not in GROUPS:
                return decode_platform_body(msg_id, dialect, body)
            head = bytes(22) + msg_id.to_bytes(2) + len(body).to_bytes(4)
            return decode_platform_body(group, dialect, head + body)

        assert_linear(decode, SHAPES[name], size)


INSIDE: Final = {
    f"{kind} {key}": declared.declaration
    for kind, registry in (
        ("item", ITEMS),
        *((f"item of {profile.name}", profile.items) for profile in PROFILES.values()),
        ("parameter", PARAMETERS),
        ("content", PASSTHROUGHS),
        ("recorder's block", COMMANDS),
    )
    for key, declared in registry.items()
}


@pytest.mark.parametrize("name", ["zeros", "ones", "many of one byte", "random"])
def test_what_stands_inside_of_bodies(name: str, size: int) -> None:
    for declaration in INSIDE.values():

        def decode(data: bytes, declaration: Any = declaration) -> object:
            try:
                return read(declaration, data, edition=Edition.E2019)
            except BodyError as error:
                return error

        assert_linear(decode, SHAPES[name], size)


def frames_of(body: bytes, **fields: Any) -> Shape:
    """As many equal frames as fit."""
    wire = Frame(0x0704, bytes(6), 1, body, **fields).encode()
    return repeated(wire)


STREAMS: Final[dict[str, Shape]] = {
    "flags": repeated(b"\x7e"),
    "flags of platforms": repeated(b"\x5b"),
    "empty frames of platforms": repeated(b"\x5b\x5d"),
    "frames of one byte": repeated(b"\x7e\0"),
    "escapes": lambda size: b"\x7e" + repeated(b"\x7d")(size),
    "escapes of platforms": lambda size: b"\x5b" + repeated(b"\x5a")(size),
    "no flag": bytes,
    "no end": lambda size: b"\x7e" + bytes(size),
    "packets": repeated(b"01cd"),
    "empty packets": repeated(b"01cd\x81" + bytes(25)),
    "empty files": repeated(b"01cd" + bytes(58)),
    "batches": frames_of(b"\0\1\0\0\x1c" + bytes(28)),
    "first fragments": frames_of(b"", fragment=(0xFFFF, 1)),
    "random": SHAPES["random"],
}
READERS: Final[dict[str, Callable[[bytes], object]]] = {
    "frames": lambda data: Deframer().feed(data),
    "frames between platforms": lambda data: PlatformDeframer().feed(data),
    "media": lambda data: MediaDeframer().feed(data),
    "attachments": lambda data: AttachmentDeframer().feed(data),
    "records": lambda data: decode_record({"id": 1, "hex": data.hex()}),
    "records of platforms": lambda data: decode_record({"id": 1, "hex": data.hex(), "protocol": "809"}),
}


@pytest.mark.parametrize(("reader", "stream"), [*product(READERS, STREAMS)])
def test_streams(reader: str, stream: str, size: int) -> None:
    assert_linear(READERS[reader], STREAMS[stream], 8 * size)


@pytest.mark.parametrize("stream", STREAMS)
def test_explanations_of_streams(stream: str, size: int) -> None:
    assert_linear(lambda data: record(explain(data)), STREAMS[stream], 2 * size)


@pytest.mark.parametrize("msg_id", [0x0104, 0x0200, 0x0500, 0x0608, 0x0704, 0x0802, 0x0900, 0x1205], ids=hex)
@pytest.mark.parametrize("name", ["zeros", "an id without a value", "a parameter without a value", "nested"])
def test_explanations_of_bodies(msg_id: int, name: str, size: int) -> None:
    def explained(body: bytes) -> object:
        return record(explain(*(frame.encode() for frame in divide(Frame(msg_id, bytes(6), 1, body)))))

    assert_linear(explained, SHAPES[name], size)


def test_of_many_flags_the_first_are_explained() -> None:
    for flag in (b"\x7e", b"\x5b"):
        explanation = explain(flag * 8192)
        assert len(explanation.units) <= MAX_FLAGS + 1
        assert explanation.findings[-1].code == "too_many_frames"
        assert explanation.units[-1].end == 8192
    few = explain(*[Frame(0x0002, bytes(6), 1, b"").encode()] * (MAX_FLAGS // 2))
    assert few.is_valid and len(few.units) == MAX_FLAGS // 2


def test_fragments_are_missed_by_what_is_there() -> None:
    frames = [Frame(0x0801, bytes(6), 1, b"", fragment=(0xFFFF, 1)).encode().hex()]
    assert steps_of(lambda: decode_record({"hex": [*frames, *frames]})) < 5_000
    assert decode_record({"hex": [*frames, *frames]})["error"].count(",") == 9
    assert first_missing({1, 3}, 4) == "2, 4" and first_missing({2, 1}, 2) == ""


def test_ranges_of_a_file_are_joined_without_a_search() -> None:
    def fill(data: bytes) -> None:
        upload = Upload(1 << 20)
        for at in range(len(data)):
            upload.add(2 * at * 7919 % (1 << 20), 1)

    assert_linear(fill, bytes, 2048)


LISTS: Final = [0x0104, 0x0704, 0x1205]


@pytest.mark.parametrize("msg_id", LISTS, ids=hex)
def test_the_largest_body_makes_only_so_many_fields(msg_id: int) -> None:
    body = SHAPES["an id without a value"](LARGEST)
    fields = decode_body(msg_id, Edition.E2013, body)
    assert fields == Undecodable(body, f"more than {MAX_FIELDS} fields")


def test_a_list_as_long_as_the_limit_is_read() -> None:
    parameters = decode_body(0x0104, Edition.E2013, b"\0\1\0" + b"\0\0\xee\1\0" * (MAX_FIELDS - 10))
    assert isinstance(parameters, dict) and "rest" not in parameters
    assert list(parameters["params"])[:3] == ["0xEE01", "0xEE01#2", "0xEE01#3"]
