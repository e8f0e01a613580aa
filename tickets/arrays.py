"""States of many terminals as dataclasses of numpy arrays, one element per terminal, and plain numbers beside
them."""

from abc import abstractmethod
from dataclasses import fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from protocol.columns.growth import extended

Arrays = dict[str, npt.NDArray[np.generic]]


class PerTerminal:
    """What every such state can do besides what it means: grow with the fleet, and go into a snapshot."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def empty(cls, terminals: int = 0) -> Self:
        """Give the state of terminals of which nothing is known."""

    @abstractmethod
    def __len__(self) -> int:
        """How many terminals there is room for."""

    def grow(self, terminals: int) -> None:
        """Make room for terminals up to that number; existing ones keep their index."""
        new = self.empty(max(0, terminals - len(self)))
        for name in _names(self):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                setattr(self, name, extended(value, getattr(new, name)))

    def reset(self, terminal: int) -> None:
        """Know nothing of a terminal any more."""
        new = self.empty(1)
        for name in _names(self):
            if isinstance(value := getattr(self, name), np.ndarray):
                value[terminal] = getattr(new, name)[0]

    def copy(self) -> Self:
        """Give a state that changes independently of this one."""
        return self.from_arrays(self.to_arrays())

    def to_arrays(self) -> Arrays:
        """Give every field as a named array for `np.savez`, not copied; a number has no dimension."""
        return {name: np.asarray(getattr(self, name)) for name in _names(self)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Restore what `to_arrays` gave.

        Raises:
            KeyError: an array is missing, which means that another version wrote the snapshot.
        """
        kept = {name: arrays[name] for name in _names(cls)}
        return cls(**{name: value.copy() if value.ndim else value.item() for name, value in kept.items()})


def _names(state: Any) -> list[str]:
    return [field.name for field in fields(state)]
