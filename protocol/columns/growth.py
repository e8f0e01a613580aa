"""Arrays that grow a little at a time at a cost that follows what is added, not what is there."""

from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

Item = TypeVar("Item", bound=np.generic)

_roomy: "WeakValueDictionary[int, npt.NDArray[Any]]" = WeakValueDictionary()
"""The arrays with room that were made here, by `id`: nothing behind another view is free."""


def extended(array: "npt.NDArray[Item]", new: "npt.NDArray[Any]") -> "npt.NDArray[Item]":
    """Return an array that begins with `array` and goes on with `new`, with room behind it.

    Where `array` came from here, and has room enough, the result is a longer view of the same memory. So only
    the last result may be extended, and the ones before it are not to be used any more.
    """
    count = len(array) + len(new)
    roomy = _roomy.get(id(array.base))
    if roomy is None or len(roomy) < count or roomy.ctypes.data != array.ctypes.data:
        roomy = np.zeros((2 * count, *array.shape[1:]), array.dtype)
        roomy[: len(array)] = array
        _roomy[id(roomy)] = roomy
    grown: npt.NDArray[Item] = roomy[:count]
    grown[len(array) :] = new
    return grown
