"""The keeper (管家): does the record's chores, each in a thread of its own and at its own interval.

    wait → connect → claim the chore → step, step, step … until nothing is left → wait

A chore that fails waits longer and longer and is tried again; the others do not notice. A chore that another
keeper of the same database is doing is left to it.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from keeper.chore import Chore, Connection, Done
from keeper.options import KeeperOptions
from store import schema, upkeep

BREATH_S = 0.2
"""Between two steps of one chore, so that upkeep never takes the database from the worker."""
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 300.0
SAID_EVERY = timedelta(minutes=1)
"""A chore that has much to do says so in the messages this often; health always has the last of it."""
FAILING_AFTER = 3
"""So many failures in a row are told as a fault: one alone is a restarting database."""

log = structlog.get_logger("keeper")


@dataclass(slots=True)
class Account:
    """What is known of a chore."""

    did: str = ""
    """The last thing it did."""
    did_zh: str = ""
    """The same in Chinese."""
    did_at: datetime | None = None
    done_at: datetime | None = None
    """When it last found nothing left to do."""
    failures: int = 0
    """In a row."""
    error: str = ""
    tells: Mapping[str, Any] = field(default_factory=dict)
    """What else it tells people."""
    said_at: datetime | None = None
    """When the messages last said what it did."""

    @property
    def is_failing(self) -> bool:
        return self.failures >= FAILING_AFTER


class Keeper:
    """Does chores.

    Args:
        options: see `KeeperOptions`
        chores: names must differ
        connect: makes a connection in autocommit mode; tests put faults here
    """

    def __init__(
        self,
        options: KeeperOptions,
        chores: Sequence[Chore],
        *,
        connect: Callable[[str], Connection] | None = None,
    ) -> None:
        self.options = options
        self.chores = chores
        self.registry = CollectorRegistry()
        self.accounts = {each.name: Account() for each in chores}
        self._connect = connect or _connect
        self._metrics = _Metrics(self.registry)

    def __repr__(self) -> str:
        return f"<Keeper of {', '.join(each.name for each in self.chores)}>"

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, whatever happens; a step that has begun is ended."""
        threads = [
            threading.Thread(target=self._keep_doing, args=(chore, stop), name=chore.name)
            for chore in self.chores
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join()

    def health(self) -> dict[str, Any]:
        """Say what each chore did last, and which ones fail."""
        failing = [f"{name}: {each.error}" for name, each in self.accounts.items() if each.is_failing]
        chores = {
            name: {
                "did": each.did,
                "did_zh": each.did_zh,
                "did_at": _text(each.did_at),
                "done_at": _text(each.done_at),
                "failures": each.failures,
                "error": each.error,
                **each.tells,
            }
            for name, each in self.accounts.items()
        }
        return {"ok": not failing, "error": "; ".join(failing), "chores": chores}

    def do(self, chore: Chore, stop: threading.Event) -> None:
        """Do one chore until nothing is left of it, or until `stop` is set.

        Raises:
            Exception: whatever the chore or the database raised.
        """
        with self._connect(self.options.dsn) as connection:
            schema.check(connection)
            if not upkeep.claim(connection, chore.name):
                return
            while not stop.is_set():
                began = time.monotonic()
                now = datetime.now(UTC)
                done = chore.step(connection, self.options, now)
                self._metrics.did(chore.name, time.monotonic() - began)
                self._note(chore, done, now)
                if not done.more:
                    return
                stop.wait(BREATH_S)

    def _keep_doing(self, chore: Chore, stop: threading.Event) -> None:
        backoff = FIRST_BACKOFF_S
        while not stop.is_set():
            try:
                self.do(chore, stop)
            except Exception as error:  # the place that owns the thread: it says so and tries again
                self._note_failure(chore, error)
                stop.wait(backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_S)
                continue
            backoff = FIRST_BACKOFF_S
            stop.wait(chore.every_s)

    def _note(self, chore: Chore, done: Done, now: datetime) -> None:
        account = self.accounts[chore.name]
        account.tells = done.tells
        if done.what:
            if account.said_at is None or now - account.said_at >= SAID_EVERY:
                log.info(chore.name, did=done.what)
                account.said_at = now
            account.did, account.did_zh, account.did_at = done.what, done.zh, now
        if not done.more:
            account.done_at = now
            self._metrics.done_at.labels(chore.name).set(now.timestamp())
        account.failures, account.error = 0, ""

    def _note_failure(self, chore: Chore, error: Exception) -> None:
        account = self.accounts[chore.name]
        message = " ".join(f"{type(error).__name__}: {error}".split())
        if message != account.error:
            log.warning(f"{chore.name} waits", error=message)
        account.error = message
        account.failures += 1
        self._metrics.failures.labels(chore.name).inc()


class _Metrics:
    """What Prometheus sees of the keeper."""

    def __init__(self, registry: CollectorRegistry) -> None:
        label = ["chore"]
        self._steps = Counter("northwatch_keeper_steps", "Steps of chores done", label, registry=registry)
        self._seconds = Counter("northwatch_keeper_seconds", "Time spent on chores", label, registry=registry)
        self.failures = Counter(
            "northwatch_keeper_failures", "Steps that failed and are repeated", label, registry=registry
        )
        self.done_at = Gauge(
            "northwatch_keeper_done_time_seconds", "When nothing was left to do", label, registry=registry
        )

    def did(self, chore: str, seconds: float) -> None:
        self._steps.labels(chore).inc()
        self._seconds.labels(chore).inc(seconds)


def _text(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None


def _connect(dsn: str) -> Connection:
    return psycopg.connect(
        dsn,
        autocommit=True,
        connect_timeout=10,
        application_name="northwatch keeper",
        keepalives_idle=10,
        tcp_user_timeout=25_000,
        # A chore that meets a lock waits behind whoever holds it, and others then wait behind the chore.
        options="-c lock_timeout=2000 -c TimeZone=UTC",
    )
