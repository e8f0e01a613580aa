"""Chains of elements in many bodies at once: additional items, and the reports inside 0x0704.

An element is two bytes of head, of which the last or both say how long its content is, and the content. The
walk goes by steps: step k reads the k-th element of every body that has one, so the number of numpy calls
follows the longest chain and the work follows the number of elements, whatever the layouts. When few bodies
have more, a plain loop ends their chains.
"""

from typing import Final, NamedTuple

import numpy as np

from protocol.columns.dtypes import I64, U8, Flags

HEAD: Final = 2
"""Bytes of an element before its content."""

FEW: Final = 32
"""So many bodies cost a loop as much per element as a step of numpy calls costs for all of them (9 µs). The
loop also keeps one body of hundreds of empty elements from costing its batch hundreds of steps."""


class Chain(NamedTuple):
    """The elements of all bodies as columns; those of one body are in their order."""

    body: I64
    """Which body, as its place in the arrays given."""
    head: I64
    """Offset of the head; the content is `HEAD` bytes further on."""
    length: I64
    """Of the content."""
    is_whole: Flags
    """For every body: its chain ends where the body ends."""


def walk(data: U8, start: I64, length: I64, *, has_word_lengths: bool = False) -> Chain:
    """Follow the chains that begin at `start` and fill `length` bytes, as far as whole elements go."""
    limit = start + length
    body, at, end = np.arange(len(start)), start, limit
    steps = []
    while len(body) > FEW:
        # Behind the end of a chain stands no element either: its head alone reaches too far.
        size = _lengths(data, at, has_word_lengths)
        following = at + HEAD + size
        fits = following <= end
        if not fits.all():
            going = fits.nonzero()[0]
            body, at, size, end, following = (each[going] for each in (body, at, size, end, following))
        steps.append((body, at, size))
        at = following
    steps.append(_looped(data, body, at, end, has_word_lengths))
    bodies, heads, lengths = (np.concatenate(columns) for columns in zip(*steps, strict=True))
    if len(heads) * HEAD + lengths.sum() == length.sum():  # no chain goes too far, so none breaks off
        return Chain(bodies, heads, lengths, np.ones(len(start), np.bool_))
    reached = start.copy()
    reached[bodies] = heads + HEAD + lengths  # the last element of a body comes last, and stays
    return Chain(bodies, heads, lengths, reached == limit)


def _lengths(data: U8, head: I64, has_word_lengths: bool) -> I64:
    """Read how long the contents behind some heads are."""
    lengths = data[head + 1].astype(np.int64)
    if has_word_lengths:
        lengths += data[head].astype(np.int64) << 8
    return lengths


def _looped(data: U8, body: I64, at: I64, end: I64, has_word_lengths: bool) -> tuple[I64, I64, I64]:
    """End the chains of few bodies one element at a time. Gives body, head and length of every element."""
    view = data.data
    found: list[tuple[int, int, int]] = []
    for index, position, limit in zip(body.tolist(), at.tolist(), end.tolist(), strict=True):
        while position + HEAD <= limit:
            size = view[position + 1]
            if has_word_lengths:
                size += view[position] << 8
            if position + HEAD + size > limit:
                break
            found.append((index, position, size))
            position += HEAD + size
    bodies, heads, sizes = np.array(found, np.int64).reshape(-1, 3).T
    return bodies, heads, sizes
