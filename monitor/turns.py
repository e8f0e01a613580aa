"""Work that may be heavy: one piece at a time for each person, and few together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """Who waits for a turn holds nothing else."""

    def __init__(self, together: int) -> None:
        self._together = asyncio.Semaphore(together)
        self._of: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, by: int) -> AsyncIterator[None]:
        """Wait for a turn of the person with this id, and have it until the block ends."""
        lock = self._of.get(by) or asyncio.Lock()
        self._of[by] = lock
        async with lock, self._together:
            yield
