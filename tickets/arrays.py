"""States of many terminals as dataclasses of numpy arrays, one element per terminal, and plain numbers beside
them."""

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[np.generic]]


def grow(state: Any, new: Any) -> None:
    """Append the terminals of `new` to every array of `state`."""
    for field in fields(state):
        value = getattr(state, field.name)
        if isinstance(value, np.ndarray):
            setattr(state, field.name, np.concatenate([value, getattr(new, field.name)]))


def to_arrays(state: Any) -> Arrays:
    """Give every field as an array; a number has no dimension."""
    return {field.name: np.asarray(getattr(state, field.name)) for field in fields(state)}


def from_arrays(kind: type[Any], arrays: Arrays) -> dict[str, Any]:
    """Give the fields of a state as `to_arrays` gave them, as copies.

    Raises:
        KeyError: one is missing.
    """
    kept = {field.name: arrays[field.name] for field in fields(kind)}
    return {name: value.copy() if value.ndim else value.item() for name, value in kept.items()}
