"""What the alarm rules remember of every terminal between two batches, as plain numpy arrays.

Two parts: a row per terminal (its last live word, its last late word), and a short table of **episodes**, one
per terminal and bit that was ever set, sorted by key. Most terminals never set most bits, so the table stays
small: about 100 bytes per entry, and never more than 32 entries per terminal whatever a terminal sends.

The state is a function of the log. It is changed in place; whoever may have to go back keeps a `copy()`, or
throws the state away and restores `from_arrays`.
"""

from dataclasses import dataclass, fields
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.columns.growth import extended

U8: TypeAlias = npt.NDArray[np.uint8]
U32: TypeAlias = npt.NDArray[np.uint32]
I64: TypeAlias = npt.NDArray[np.int64]
Records: TypeAlias = npt.NDArray[np.void]

NEVER: Final = -(2**63)
"""The time of what has not happened. The same number as a report's `NO_TIME`."""

_EPISODE: Final = np.dtype(
    [
        ("began_us", "<i8"),  # device time of the newest live 0 → 1
        ("seen_us", "<i8"),  # device time of the last live report with the bit; valid once the bit has fallen
        ("ended_us", "<i8"),  # device time of the live 1 → 0
        ("place", "<i8"),  # code of the object it was raised with
        ("late_began_us", "<i8"),  # the same for the newest episode that late data revealed
        ("late_seen_us", "<i8"),
        ("late_place", "<i8"),
        ("since_us", "<i8"),  # begin of the first of the live alarms that came back so soon that they are one
        ("fell_us", "<i8"),  # receipt of the report that ended it; NEVER where nothing can come back
        ("places_minute", "<i8"),  # minute of receipt in which it was raised with another place than before
        ("places", "<i8"),  # how often in that minute
    ]
)


@dataclass(slots=True)
class Episode:
    """The newest live and the newest late time that one bit of one terminal was set."""

    began_us: int = NEVER
    seen_us: int = NEVER
    ended_us: int = NEVER
    place: int = 0
    late_began_us: int = NEVER
    late_seen_us: int = NEVER
    late_place: int = 0
    since_us: int = NEVER
    fell_us: int = NEVER
    places_minute: int = NEVER
    places: int = 0


BITS: Final = 32
"""Of an alarm word."""

_FIELDS: Final = tuple(field.name for field in fields(Episode))


@dataclass(slots=True)
class AlarmState:
    """One element per terminal, by the worker's dense terminal index, and the table of episodes."""

    live: U32
    """Alarm word of the newest live report that was read, reserved bits removed."""
    live_us: I64
    """Its time; `NEVER` before the first."""
    edition: U8
    """The edition by which `live` was read."""
    late: U32
    """Alarm word of the newest report of the run of late data that is going on."""
    told: U32
    """Bits of `late` that became alarms of their own; the others continue an alarm that was known already."""
    late_us: I64
    late_edition: U8
    fence_us: I64
    """A live report that is known to be newer than `late_us`; `NEVER` before there is one."""
    minute: I64
    """Minute of receipt in which `changes` were counted."""
    changes: U32
    """What became of this terminal's alarms in that minute; see `alerts.bits.MAX_CHANGES`."""
    missed: U32
    """Bits that the operator ends, of reports that were not read since."""
    shared: I64
    """A minute of receipt, and how many changes all terminals made in it beyond their own; see
    `alerts.bits.SHARED_CHANGES`."""
    keys: I64
    """terminal × 32 + bit, ascending, for `episodes`."""
    episodes: Records

    @classmethod
    def empty(cls, terminals: int = 0) -> Self:
        """Give the state of terminals that have never reported."""
        return cls(
            live=np.zeros(terminals, np.uint32),
            live_us=np.full(terminals, NEVER, np.int64),
            edition=np.zeros(terminals, np.uint8),
            late=np.zeros(terminals, np.uint32),
            told=np.zeros(terminals, np.uint32),
            late_us=np.full(terminals, NEVER, np.int64),
            late_edition=np.zeros(terminals, np.uint8),
            fence_us=np.full(terminals, NEVER, np.int64),
            minute=np.full(terminals, NEVER, np.int64),
            changes=np.zeros(terminals, np.uint32),
            missed=np.zeros(terminals, np.uint32),
            shared=np.array([NEVER, 0]),
            keys=np.zeros(0, np.int64),
            episodes=np.zeros(0, _EPISODE),
        )

    def __len__(self) -> int:
        return len(self.live)

    def grow(self, terminals: int) -> None:
        """Make room for terminals up to that number; existing ones keep their index."""
        new = AlarmState.empty(max(0, terminals - len(self)))
        for name in _BY_TERMINAL:
            setattr(self, name, extended(getattr(self, name), getattr(new, name)))

    def reset(self, terminal: int) -> None:
        """Know nothing of a terminal any more."""
        new, own = AlarmState.empty(1), self.keys // BITS == terminal
        for name in _BY_TERMINAL:
            getattr(self, name)[terminal] = getattr(new, name)[0]
        self.keys, self.episodes = self.keys[~own], self.episodes[~own]

    def copy(self) -> Self:
        """Give a state that changes independently of this one."""
        return self.from_arrays(self.to_arrays())

    def to_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Give everything as named arrays for `np.savez`; they are not copies."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[np.generic]]) -> Self:
        """Restore what `to_arrays` gave.

        Raises:
            KeyError: an array is missing, which means that another version wrote the snapshot.
        """
        kept: dict[str, Any] = {field.name: arrays[field.name].copy() for field in fields(cls)}
        return cls(**kept)

    def episode(self, key: int) -> Episode:
        """Give what is known of one terminal's bit, as a value of its own."""
        at = int(np.searchsorted(self.keys, key))
        if at == len(self.keys) or self.keys[at] != key:
            return Episode()
        return Episode(*self.episodes[at].item())

    def remember(self, known: dict[int, Episode]) -> None:
        """Put episodes in the place of what was known under their keys."""
        if not known:
            return
        keys = np.array(sorted(known), np.int64)
        rows = np.array(
            [tuple(getattr(known[key], name) for name in _FIELDS) for key in keys.tolist()], _EPISODE
        )
        at = np.searchsorted(self.keys, keys)
        is_old = np.zeros(len(keys), np.bool_)
        inside = at < len(self.keys)
        is_old[inside] = self.keys[at[inside]] == keys[inside]
        self.episodes[at[is_old]] = rows[is_old]
        if not is_old.all():
            self.keys = np.insert(self.keys, at[~is_old], keys[~is_old])
            self.episodes = np.insert(self.episodes, at[~is_old], rows[~is_old])


def episode_key(terminal: int, bit: int) -> int:
    """Give the key under which the episodes of a terminal's bit are."""
    return terminal * BITS + bit


_BY_TERMINAL: Final = tuple(
    each.name for each in fields(AlarmState) if each.name not in ("shared", "keys", "episodes")
)
