"""Many records read as one are what each of them says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from store.records import Frames

FRAME = st.tuples(st.integers(1, 2**63), st.integers(0, 3), st.binary(max_size=5))


def frames(said: list[tuple[int, int, bytes]]) -> Frames:
    return Frames(
        np.array([session for session, _, _ in said], np.uint64),
        np.array([len(data) for _, _, data in said], np.uint16),
        np.array([flags for _, flags, _ in said], np.uint16),
        np.frombuffer(b"".join(data for _, _, data in said), np.uint8),
    )


@given(st.lists(st.lists(FRAME, max_size=3), max_size=4), st.integers(0, 3))
def test_joined_records_are_all_their_frames(
    records: list[list[tuple[int, int, bytes]]], margin: int
) -> None:
    payloads = [memoryview(frames(said).payload()) for said in records]
    assert [Frames.count(each) for each in payloads] == [len(said) for said in records]
    joined, expected = Frames.joined(payloads, margin), frames([each for said in records for each in said])
    assert joined.sessions.tolist() == expected.sessions.tolist()
    assert joined.lengths.tolist() == expected.lengths.tolist()
    assert joined.flags.tolist() == expected.flags.tolist()
    assert joined.data.tobytes() == expected.data.tobytes() + bytes(margin)
