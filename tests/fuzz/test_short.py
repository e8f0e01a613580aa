"""The fuzz targets by seeded mutation: no coverage to guide it, but the same inputs on every machine."""

import gc
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fuzz import bodies, connection, platforms

TARGETS = {"connection": (connection, 2000), "bodies": (bodies, 12000), "platforms": (platforms, 4000)}
"""With the number of inputs, which takes about five seconds each."""
SPECIAL = b"\x00\x01\x02\x5a\x5b\x5d\x5e\x7d\x7e\x7f\x80\xff"
LONGEST = 4096

MOST_GROWTH = 64 * 1024
"""Bytes that a second pass over the same inputs may leave behind: interpreter caches, no one input's data."""


def mutated(parts: list[bytes], dice: random.Random) -> bytes:
    """Change an input in some places, or splice two."""
    data = bytearray(dice.choice(parts))
    for _ in range(dice.randrange(6)):
        at, width = dice.randrange(len(data) + 1), dice.randrange(1, 9)
        match dice.randrange(6):
            case 0:
                data[at:at] = dice.randbytes(width)
            case 1:
                del data[at : at + width]
            case 2:
                data[at : at + 1] = bytes((dice.choice(SPECIAL),))
            case 3:
                data[at : at + width] = dice.randbytes(width)
            case 4:
                data[at:] = dice.choice(parts)[at:]
            case 5:
                data[at:at] = data[at : at + 4 * width]
    return bytes(data[:LONGEST])


def inputs(target: Any, number: int) -> Iterator[bytes]:
    dice, parts = random.Random(808), list(target.seeds())
    yield from parts
    yield from (mutated(parts, dice) for _ in range(number))


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_escapes(name: str) -> None:
    target, number = TARGETS[name]
    for data in inputs(target, number):
        try:
            target.check(data)
        except BaseException as error:
            error.add_note(f"input {data.hex()} of target {name}")
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_memory_does_not_grow(name: str) -> None:
    target, _ = TARGETS[name]
    some = list(inputs(target, 0))[::8]
    for data in some:
        target.check(data)
    gc.collect()
    tracemalloc.start()
    try:
        for data in some:
            target.check(data)
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < MOST_GROWTH
