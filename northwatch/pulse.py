"""How long a process's event loop lets others wait: a **beat** that it owes us every quarter of a second, and
by how much it was late.

Whoever asks does so from another thread (`northwatch.endpoint`), so a loop that stands is told while it
stands, and for a while after: between two looks at `/healthz` it may stand and run again.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge

BEAT_S: Final = 0.25

REMEMBERED_S: Final = 15.0
"""A delay is told for so long: health is asked every few seconds."""

STALLED_S: Final = 5.0
"""A loop that is late by so much serves nobody. A busy machine may keep one from running for a second or two.
"""


class Pulse:
    """The beat of one event loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` is a clock in seconds that nobody sets."""
        self._now = now
        self._due: float | None = None
        """When the next beat should come; None while no loop owes us any."""
        self._worst: list[tuple[float, float]] = []
        """Delays and when they were seen, each longer than all that came after it."""

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Watch the running loop in this block."""
        self.note()
        task = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            task.cancel()
            self._due = None

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self.note()

    def note(self) -> None:
        """Take note of a beat."""
        now, due = self._now(), self._due
        late_s = max(0.0, now - due) if due is not None else 0.0
        kept = [each for each in self._worst if each[0] > late_s and each[1] > now - REMEMBERED_S]
        self._worst = [*kept, (late_s, now)]
        self._due = now + BEAT_S

    @property
    def delay_s(self) -> float:
        """The longest delay of late, that of a beat that is still owed included."""
        now, due = self._now(), self._due
        owed_s = now - due if due is not None else 0.0
        return max(0.0, owed_s, *(late_s for late_s, at in self._worst if at > now - REMEMBERED_S))

    @property
    def is_stalled(self) -> bool:
        """The loop stands, or did lately."""
        return self.delay_s >= STALLED_S

    def health(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Add `loop_delay_s` to what a process says of itself; while its loop stands it is not well."""
        is_ok = bool(said.get("ok", True)) and not self.is_stalled
        return {**said, "ok": is_ok, "loop_delay_s": round(self.delay_s, 3)}

    def measure(self, registry: CollectorRegistry) -> None:
        """Let Prometheus see it."""
        gauge = Gauge(
            "northwatch_loop_delay_seconds", "Longest delay of the event loop of late", registry=registry
        )
        gauge.set_function(lambda: self.delay_s)
