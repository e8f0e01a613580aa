"""The three editions of JT/T 808 and how a terminal's edition is told."""

from enum import StrEnum
from typing import Final

from protocol.frame import Frame

REGISTER: Final = 0x0100

SHORTEST_2013_REGISTRATION: Final = 37
"""Bytes of a 0x0100 body of 2013 with an empty plate. Shorter ones can only be of 2011, whose maker's model
has 8 bytes instead of 20; one of 2011 that is as long would need a plate of 12 bytes, which no plate
has."""


class Edition(StrEnum):
    """标准版本, in order of age."""

    E2011 = "2011"
    E2013 = "2013"
    E2019 = "2019"


def edition_of(frame: Frame, known: Edition | None = None) -> Edition:
    """Tell by which edition to read a frame.

    The header decides between 2019 and the older two; these share it and are told apart by the length of a
    registration. `known` is what an earlier registration of the same terminal said; without one it is 2013,
    which reads everything of 2011 except registrations and a few multimedia and recorder messages.
    """
    if frame.is_2019:
        return Edition.E2019
    if frame.msg_id == REGISTER:
        return registered_edition(len(frame.body))
    return known if known in (Edition.E2011, Edition.E2013) else Edition.E2013


def registered_edition(body_length: int) -> Edition:
    """Tell 2011 from 2013 by the length of a registration's body."""
    return Edition.E2011 if body_length < SHORTEST_2013_REGISTRATION else Edition.E2013
