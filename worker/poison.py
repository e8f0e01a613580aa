"""Find what cannot be written among much that can. Pure: how to try is the caller's business."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def poisonous(things: Sequence[T], can_be_written: Callable[[Sequence[T]], bool]) -> list[T]:
    """Give the things that cannot be written even alone, by halving: few tries where few are bad.

    Things that only fail together with others are not found.
    """
    if not things or can_be_written(things):
        return []
    if len(things) == 1:
        return list(things)
    middle = len(things) // 2
    return poisonous(things[:middle], can_be_written) + poisonous(things[middle:], can_be_written)
