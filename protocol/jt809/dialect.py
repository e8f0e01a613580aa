"""What a peer speaks: the editions of JT/T 809, and the supplement that came between them."""

from enum import StrEnum
from typing import Final


class Dialect(StrEnum):
    """版本, in order of age. Which one a peer speaks is agreed with it, no byte of a frame says it."""

    V1 = "V1"
    """JT/T 809-2011 as it was printed first: 0x9301, 0x9302 and 0x1301 name no object."""
    V2 = "V2"
    """2011 with the supplement: they name the type of the object and its id in 12 bytes."""
    V3 = "V3"
    """JT/T 809-2019."""

    @property
    def edition(self) -> str:
        """The year of the standard."""
        return "2019" if self is Dialect.V3 else "2011"

    @property
    def is_2019(self) -> bool:
        """Headers have a time, and many bodies another layout."""
        return self is Dialect.V3


DIALECTS: Final = {**{dialect.value: dialect for dialect in Dialect}, "2011": Dialect.V1, "2019": Dialect.V3}
"""Every dialect by its name, and by the year alone."""


def dialect_named(name: str) -> Dialect:
    """Give a dialect by its name or by the year of the standard.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        return DIALECTS[name]
    except KeyError:
        raise ValueError(f"{name!r} is no dialect of JT/T 809; there are {', '.join(DIALECTS)}") from None
