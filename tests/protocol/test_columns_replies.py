"""General replies as columns are, byte for byte, what the declaration writes."""

import random
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protocol.columns import general_replies, scan
from protocol.edition import Edition
from protocol.frame import Frame
from protocol.message import encode_body
from tests.protocol.strategies import frames, serials

special = st.sampled_from([0x7D, 0x7E, 0x7D7E, 0x7E7D, 0x7D01, 0x017E]) | serials


def answer(frame: Frame, serial: int, result: int) -> bytes:
    """The answer to one frame by the declaration."""
    fields = {"ack_serial": frame.serial, "ack_msg_id": frame.msg_id, "result": result}
    body = encode_body(0x8001, Edition.E2013, fields)
    return Frame(0x8001, frame.raw_id, serial, body, frame.version).encode()


@given(
    st.lists(st.tuples(frames(st.binary(max_size=20)), special, st.integers(0, 255)), max_size=8), st.data()
)
def test_answers_are_those_of_the_declaration(
    drawn: list[tuple[Frame, int, int]], data: st.DataObject
) -> None:
    batch = scan([frame.encode() for frame, _, _ in drawn]).frames
    keep = [index for index in range(len(drawn)) if data.draw(st.booleans())]
    rows = np.array(keep, np.int64)
    wanted = [answer(*drawn[index]) for index in keep]
    numbers = np.array([drawn[index][1] for index in keep], np.int64)
    results = np.array([drawn[index][2] for index in keep], np.uint8)
    wire, offsets = general_replies(batch, rows, numbers, results)
    assert offsets[0] == 0 and offsets[-1] == len(wire)
    assert [wire[begin:end].tobytes() for begin, end in pairwise(offsets)] == wanted


@given(st.binary(min_size=6, max_size=6), st.binary(min_size=10, max_size=10), serials)
def test_answers_echo_id_and_edition(short_id: bytes, long_id: bytes, serial: int) -> None:
    sent = [Frame(0x0002, short_id, serial, b""), Frame(0x0002, long_id, serial, b"", version=1)]
    batch = scan([frame.encode() for frame in sent]).frames
    for row, frame in enumerate(sent):
        wire, _ = general_replies(batch, np.array([row]), 7, 3)
        assert wire.tobytes() == answer(frame, 7, 3)


def test_a_thousand_answers() -> None:
    rng = random.Random(808)
    sent = []
    for _ in range(1000):
        version = rng.choice([None, 1])
        sent.append(Frame(0x0002, rng.randbytes(10 if version else 6), rng.randrange(1 << 16), b"", version))
    batch = scan([frame.encode() for frame in sent]).frames
    for _ in range(3):  # again, in memory that has been used
        wire, offsets = general_replies(batch, np.arange(1000), np.arange(1000), 0)
        found = [wire[begin:end].tobytes() for begin, end in pairwise(offsets)]
        assert found == [answer(frame, serial, 0) for serial, frame in enumerate(sent)]
