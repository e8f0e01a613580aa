"""终端画像, profiles: what terminals of a maker, model or firmware do otherwise than the standard.

The files of `protocol/profiles/` declare them, one call each. A profile only says what differs: items that
mean something else or are the maker's own, layouts of messages that cannot be told by their length,
coordinates that are not magnitudes, ciphers. `STANDARD` says nothing.

`decode_body(…, profile=profile)` and its like read by one; records of `protocol.jsonl` name one. `profile_of`
finds the one of a terminal by what it says of itself in 0x0100 and 0x0107.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from protocol.ciphers import Cipher
from protocol.errors import LocalProtocolError
from protocol.item import ItemType


class Devices(NamedTuple):
    """Terminals that a profile is for: patterns with `*` and `?` of what they say of themselves."""

    manufacturer_id: str = "*"
    """制造商ID."""
    terminal_model: str = "*"
    """终端型号."""
    firmware_version: str = "*"
    """终端固件版本号, which only 0x0107 tells."""

    def match(self, manufacturer_id: str, terminal_model: str, firmware_version: str) -> bool:
        """Tell whether a terminal is one of them."""
        said = (manufacturer_id, terminal_model, firmware_version)
        return all(fnmatchcase(value, pattern) for value, pattern in zip(said, self, strict=True))


@dataclass(frozen=True, slots=True)
class Profile:
    """What differs from the standard."""

    name: str
    what: str = ""
    """中文 and English."""
    devices: tuple[Devices, ...] = ()
    """Which terminals it is for; none: somebody must choose it."""
    items: Mapping[int, ItemType] = field(default_factory=dict)
    """Additional items by id, before the standard's."""
    layouts: Mapping[int, str] = field(default_factory=dict)
    """By message id the layout that is tried first, as the field `layout` of decoded bodies names it."""
    signed_coordinates: bool = False
    """Coordinates are two's complement; where they are positive, the hemisphere bits still turn them."""
    ciphers: Mapping[int, Cipher] = field(default_factory=dict)
    """What the cipher numbers of the header mean."""
    media_sim_bytes: int = 6
    """Bytes of the SIM card's number in media packets, see `protocol.media`."""


STANDARD: Final = Profile("standard", "标准 nothing differs")

PROFILES: Final[dict[str, Profile]] = {STANDARD.name: STANDARD}
"""Every declared profile by name. Filled by the files of `protocol/profiles/`."""


def profile(name: str, what: str, *, items: Iterable[ItemType] = (), **facts: Any) -> Profile:
    """Declare a profile.

    Raises:
        ValueError: another file has declared this name.
    """
    if name in PROFILES:
        raise ValueError(f"profile {name!r} is declared twice")
    PROFILES[name] = Profile(name, what, items={item.id: item for item in items}, **facts)
    return PROFILES[name]


def profile_named(name: str | None) -> Profile:
    """Give a profile by its name; without one, the standard.

    Raises:
        LocalProtocolError: there is none of this name.
    """
    try:
        return PROFILES[name or STANDARD.name]
    except KeyError:
        raise LocalProtocolError(f"profile {name!r} is not one of {', '.join(PROFILES)}") from None


def profile_of(manufacturer_id: str, terminal_model: str, firmware_version: str = "") -> Profile:
    """Give the profile of a terminal by what it says of itself: the first one that is for it."""
    said = (manufacturer_id, terminal_model, firmware_version)
    found = (each for each in PROFILES.values() if any(devices.match(*said) for devices in each.devices))
    return next(found, STANDARD)
