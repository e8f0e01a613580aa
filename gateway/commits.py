"""Syncs, and the answers that wait for them.

A sync runs where it costs least. While the disk answers within a millisecond that is the loop's own thread:
handing it to another one would cost more than waiting, and would cut the work into small turns. When the
disk is slower it runs in a thread, and what arrives meanwhile gathers for the next batch.

When a sync fails, its answers are withheld and the sync is tried again until it succeeds. Nothing is answered
meanwhile; the log keeps what it could not write. A log with room for its reserve alone takes ticks and what
happens to links: commits go on, and terminals are not read.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import median
from typing import Final, Protocol, TypeAlias

import structlog

from gateway.conditions import Condition
from gateway.links import Link
from store.log import LogError, LogState
from store.records import Event, Frames

logger = structlog.get_logger()

Answers: TypeAlias = list[tuple[Link, bytes]]

FAST_SYNC_S: Final = 0.001
"""Up to this, syncing on the loop's thread is cheaper than handing over."""

REMEMBERED_SYNCS: Final = 15
"""Of so many the median decides: one slow sync among them changes nothing."""

RETRY_S: Final = 0.25
"""How long a failed sync waits for the next attempt."""

WORKS_AFTER_S: Final = 10.0
"""A log at its quota works for a moment whenever a segment is given back; only who works for so long works
again."""


class Log(Protocol):
    """What the gateway needs of `store.log.LogWriter`."""

    @property
    def shortage(self) -> str: ...

    def append(self, record: Frames | Event, received_at_us: int) -> int: ...

    def sync(self) -> int: ...

    def trim(self) -> int: ...

    def state(self) -> LogState: ...


class Commits:
    """Makes what was appended durable, one sync at a time, and then lets the answers go."""

    def __init__(
        self,
        log: Log,
        deliver: Callable[[Answers], None],
        observe: Callable[[float], None],
        changed: Callable[[], None],
    ) -> None:
        """`deliver` sends answers, `observe` is told how long a sync took, `changed` when `is_busy` or
        `fault` changed."""
        self._log = log
        self._deliver = deliver
        self._observe = observe
        self._changed = changed
        self._thread = ThreadPoolExecutor(1, "sync")
        self._durations: deque[float] = deque(maxlen=REMEMBERED_SYNCS)
        self._withheld: Answers = []
        self._retry: asyncio.TimerHandle | None = None
        self._running: asyncio.Future[None] | None = None
        self._trimming: Future[None] | None = None
        self._is_closed = False
        self._condition = Condition(good_after_s=WORKS_AFTER_S)
        self.fault = ""
        """Why nothing can be made durable; empty when it can."""

    @property
    def is_busy(self) -> bool:
        """A sync is under way or has failed, or the log closes: `commit` must wait."""
        return self._running is not None or bool(self.fault) or self._is_closed

    @property
    def trouble(self) -> str:
        """Why terminals are not to be read; empty when they are."""
        return self.fault or self._log.shortage

    @property
    def is_slow(self) -> bool:
        """The disk needs longer than the loop should wait."""
        return bool(self._durations) and median(self._durations) > FAST_SYNC_S

    @property
    def median_s(self) -> float:
        """How long a sync takes."""
        return median(self._durations) if self._durations else 0.0

    @property
    def withheld(self) -> int:
        """Links whose answers wait for a sync that failed."""
        return len(self._withheld)

    def commit(self, answers: Answers) -> None:
        """Sync what was appended, then deliver `answers`. Only when not `is_busy`."""
        if self.is_slow:
            self._withheld = answers
            self._start()
            return
        try:
            self._sync()
        except Exception as error:
            self._withheld = answers
            self._fail(error)
        else:
            self._deliver(answers)

    async def settle(self) -> None:
        """Wait for a sync that is under way."""
        while self._running is not None:
            await asyncio.wait([self._running])
            await asyncio.sleep(0)

    def look_after(self, now: float) -> None:
        """Say how the log is if that is news, and have it give back what nobody needs any more. Call it every
        second.
        """
        if self._condition.is_news(bad=bool(self.trouble), now=now):
            if self.fault:
                logger.error("log failed; nothing is answered until it works", error=self.fault)
            elif self.trouble:
                logger.error("log full; nothing is read until there is room", error=self.trouble)
            else:
                logger.info("log works again")
        if self._trimming is None or self._trimming.done():
            self._trimming = self._thread.submit(self._trim)

    def close(self) -> None:
        """Sync no more, whatever is still appended. What was withheld is never answered."""
        self._is_closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._thread.shutdown()

    def _sync(self) -> None:
        begin = time.perf_counter()
        self._log.sync()
        took = time.perf_counter() - begin
        self._durations.append(took)
        self._observe(took)

    def _start(self) -> None:
        """Sync in the thread."""
        self._retry = None
        self._running = asyncio.get_running_loop().run_in_executor(self._thread, self._attempt)
        self._running.add_done_callback(self._finished)

    def _attempt(self) -> None:
        if self.fault:
            self._log.trim()  # room may be all that is missing
        self._sync()

    def _trim(self) -> None:
        try:
            self._log.trim()
        except LogError as error:
            logger.warning("log cannot be trimmed", error=str(error))

    def _finished(self, done: "asyncio.Future[None]") -> None:
        self._running = None
        if self._is_closed:
            return
        error = done.exception()
        if error is not None:
            self._fail(error)
            return
        self.fault = ""
        answers, self._withheld = self._withheld, []
        self._deliver(answers)
        self._changed()

    def _fail(self, error: BaseException) -> None:
        """Say why, and try again: also a mistake of ours loses nothing that was appended."""
        self.fault = str(error) if isinstance(error, LogError) else repr(error)
        self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._start)
        self._changed()
