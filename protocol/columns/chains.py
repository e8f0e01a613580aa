"""Chains of elements in many bodies at once: additional items, and the reports inside 0x0704.

An element is two bytes of head, of which the last or both say how long its content is, and the content. The
walk goes by steps: step k reads the k-th element of every body that has one, so the number of numpy calls
follows the longest chain and the work follows the number of elements, whatever the layouts. When few bodies
have more, a plain loop ends their chains.
"""

from typing import Final, NamedTuple

import numpy as np

from protocol.columns.dtypes import I64, U8

HEAD: Final = 2
"""Bytes of an element before its content."""

FEW: Final = 24
"""So many bodies cost a loop as much per element as a step of numpy calls costs for all of them (8 µs). The
loop also keeps one body of hundreds of empty elements from costing its batch hundreds of steps."""


class Chain(NamedTuple):
    """The elements of all bodies as columns; those of one body are in their order."""

    body: I64
    """Which body, as its place in the arrays given."""
    start: I64
    """Offset of the content; the head stands before it."""
    end: I64
    """For every body: where its chain breaks off, or the body's end."""


def walk(data: U8, start: I64, length: I64, *, has_word_lengths: bool = False) -> Chain:
    """Follow the chains that begin at `start` and fill `length` bytes, as far as whole elements go."""
    body, at, end = np.arange(len(start)), start, start + length
    reached = start.copy()
    steps = [(body[:0], at[:0])]
    while len(body) > FEW:
        # Where a chain has ended, its successor stands, whatever it is: its head reaches beyond the end too.
        size = data[at + 1].astype(np.int64)
        if has_word_lengths:
            size += data[at].astype(np.int64) << 8
        following = at + size + HEAD
        fits = following <= end
        if not fits.all():
            going = fits.nonzero()[0]
            body, at, end, following = body[going], at[going], end[going], following[going]
        steps.append((body, at))
        reached[body] = at = following
    steps.append(_looped(data, body, at, end, reached, has_word_lengths))
    bodies, heads = (np.concatenate(columns) for columns in zip(*steps, strict=True))
    return Chain(bodies, heads + HEAD, reached)


def _looped(data: U8, body: I64, at: I64, end: I64, reached: I64, has_word_lengths: bool) -> tuple[I64, I64]:
    """End the chains of few bodies one element at a time."""
    view = data.data
    bodies: list[int] = []
    heads: list[int] = []
    for index, position, limit in zip(body.tolist(), at.tolist(), end.tolist(), strict=True):
        while position + HEAD <= limit:
            size = view[position + 1] + (view[position] << 8 if has_word_lengths else 0)
            if position + HEAD + size > limit:
                break
            bodies.append(index)
            heads.append(position)
            position += HEAD + size
        reached[index] = position
    return np.array(bodies, np.int64), np.array(heads, np.int64)
