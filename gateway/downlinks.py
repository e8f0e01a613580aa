"""Long messages to terminals, kept for a while: a terminal may ask for fragments again (0x0005, 2019 §8.7).

What is sent again is the same to the byte, serial included.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from protocol.frame import Frame

MAX_KEPT_BYTES: Final = 4 * 1024 * 1024
"""Of one session: a firmware of a few MiB. Only sessions that were sent something long keep anything."""


class KeptPackets:
    """The fragments last sent in one session, oldest message first."""

    def __init__(self) -> None:
        self._messages: OrderedDict[int, list[bytes]] = OrderedDict()
        self._size = 0

    def keep(self, frames: Sequence[Frame]) -> None:
        """Keep the fragments of a message, as long as newer ones leave them room."""
        wires = [frame.encode() for frame in frames]
        self._forget(frames[0].serial)
        self._messages[frames[0].serial] = wires
        self._size += sum(map(len, wires))
        while self._size > MAX_KEPT_BYTES:
            self._forget(next(iter(self._messages)))

    def find(self, first_serial: int, indexes: Sequence[int]) -> list[bytes]:
        """Give fragments (from 1) of the message whose first serial this is, each once; those that are not
        kept lack."""
        wires = self._messages.get(first_serial, [])
        return [wires[index - 1] for index in dict.fromkeys(indexes) if 1 <= index <= len(wires)]

    def _forget(self, first_serial: int) -> None:
        self._size -= sum(map(len, self._messages.pop(first_serial, [])))
