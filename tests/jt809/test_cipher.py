"""The body cipher: an exclusive or with the stream that the standard's rule makes."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.jt809.cipher import Keys, apply

numbers = st.integers(0, 0xFFFFFFFF)
keys = st.builds(Keys, numbers, numbers, numbers)


@given(st.binary(max_size=200), numbers, keys)
def test_encrypting_twice_is_nothing(data: bytes, key: int, keys: Keys) -> None:
    assert apply(apply(data, key, keys), key, keys) == data


def test_the_stream_by_hand() -> None:
    """k = IA1 × (k mod M1) + IC1, and bits 20 to 27 of each k."""
    first = 20_000_000 * (256_178 % 30_000_000) + 20_000_000 & 0xFFFFFFFF
    second = 20_000_000 * (first % 30_000_000) + 20_000_000 & 0xFFFFFFFF
    stream = bytes((first >> 20 & 0xFF, second >> 20 & 0xFF))
    assert apply(bytes(2), 256_178, Keys(30_000_000, 20_000_000, 20_000_000)) == stream


@given(st.binary(max_size=50), numbers, numbers)
def test_zero_counts_as_one(data: bytes, ia1: int, ic1: int) -> None:
    assert apply(data, 0, Keys(0, ia1, ic1)) == apply(data, 1, Keys(1, ia1, ic1))
