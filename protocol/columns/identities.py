"""Whose frames these are: the identity of every frame of a batch."""

import numpy as np
from numpy.typing import ArrayLike

from protocol.columns.batch import FrameBatch
from protocol.columns.dtypes import I64, U8, Flags
from protocol.frame import FLAG, unescape

_FLAG = bytes([FLAG])


def identities(data: U8, lengths: ArrayLike, as_received: Flags) -> tuple[list[str], I64]:
    """Say which terminals frames are of that stand back to back, as the log keeps them.

    Args:
        as_received: which frames stand there with flags and escapes

    Returns:
        the identities, and for each frame the index of its own; empty for frames that say none
    """
    length = np.asarray(lengths, np.int64)
    if as_received.any():
        data, length = as_plain(data, length, as_received)
    batch, bad = FrameBatch.from_plain(data, length)
    low, of = np.unique(batch.key_low, return_inverse=True)
    numbers = low.tolist()
    if batch.key_high.any():  # more than sixteen digits: no number of a SIM, so few
        high, of_high = np.unique(batch.key_high, return_inverse=True)
        both, of = np.unique(of_high * len(low) + of, return_inverse=True)
        numbers = [int(high[each // len(low)]) << 64 | int(low[each % len(low)]) for each in both.tolist()]
    names = [f"{number:X}" for number in numbers]
    if not len(bad):
        return names, of
    which = np.full(len(length), len(names), np.int64)
    which[np.delete(np.arange(len(length)), bad)] = of
    return [*names, ""], which


def as_plain(data: U8, length: I64, as_received: Flags) -> tuple[U8, I64]:
    """Bring frames that are kept as received to the form of all others; gives data and lengths."""
    ends = length.cumsum().tolist()
    pieces = [
        unescape(data[end - size : end].tobytes().strip(_FLAG)) if raw else data[end - size : end].tobytes()
        for end, size, raw in zip(ends, length.tolist(), as_received.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(pieces), np.uint8), np.array([len(each) for each in pieces], np.int64)
