"""Chains of length-prefixed elements in many bodies at once: additional items, and the reports inside 0x0704.

The walk goes by steps: step k reads the k-th element of every body that has one, so the number of numpy calls follows
the longest chain and the work follows the number of elements, whatever the layouts.
"""

from typing import Final, NamedTuple

import numpy as np

from protocol.columns.dtypes import I64, U8, Flags, window

HEAD: Final = 2
"""Every element begins with two bytes: the length, or an id and the length."""

_FEW: Final = 12
"""Bodies for which a loop over their elements is cheaper than a numpy step (about 10 µs) for all of them; it also
keeps one body of hundreds of empty elements from costing everybody hundreds of steps."""


class Chain(NamedTuple):
    """All elements as columns: the first of each body, then the second of each, and so on."""

    body: I64
    """Which body, as its place in the arrays given."""
    head: I64
    """The two bytes before the content, as one number."""
    start: I64
    """Offset of the content."""
    length: I64
    end: I64
    """For every body: where its chain breaks off, or the body's end."""


def walk(data: U8, start: I64, length: I64, length_bits: int) -> Chain:
    """Follow the chains that begin at `start` and fill `length` bytes, as far as whole elements go.

    `length_bits` of an element's head say how long its content is.
    """
    heads = window(data, ">u2")
    body, at, end = np.arange(len(start)), start, start + length
    reached = start.copy()
    steps = [(body[:0], at[:0], at[:0])]
    while len(body):
        head = heads[at].astype(np.int64)  # behind a chain's end stands something that does not fit either
        following = at + HEAD + (head & length_bits)
        fits = following <= end
        if not fits.all():
            going = fits.nonzero()[0]
            body, at, end, head, following = (x[going] for x in (body, at, end, head, following))
        steps.append((body, head, at))
        reached[body] = at = following
    bodies, all_heads, starts = (np.concatenate(columns) for columns in zip(*steps, strict=True))
    return Chain(bodies, all_heads, starts + HEAD, all_heads & length_bits, reached)
