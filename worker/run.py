"""The worker: reads the machine's logs in order and writes what they mean, exactly once.

    read up to 4 MB → recognise terminals → digest → facts + cursors in one transaction → next

Whatever goes wrong, the rule is the same: the transaction is undone, the state in memory is thrown away and
restored from the snapshot and the logs up to the committed cursors, and the same records are read again.

* The database cannot be reached, is read-only, full or restarting: try again, later and later. The log holds.
* The database is slower than the stream: less is taken at a time, so that nothing waits long for its turn.
* A record cannot be written however often it is tried: it is found, and goes to quarantine alone. That costs
  one restored state and three times the batch, however many there are; only what the search cannot tell is
  found by halving, from copies of the state in memory.
* An error that should pass does not: where others can be written, it is taken for the record's. So is a lost
  connection, where the record is lost with it again and again: it ends the database's process.
* The log has no such position, or is damaged: nothing is skipped; the worker waits and its health says why.
  Damage it passes when a person says so (`store.damage`).
"""

import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from store import cursors, damage, decisions, pieces, quarantine
from store.blobs import Blobs
from store.fleet import LIVE_CHANNEL
from store.log import FIRST, CursorAhead, LogCorrupt, LogError, LogRecord
from store.merge import MergedReader, Order, Positions, order
from store.placement import Placement
from store.quarantine import Limits
from store.records import Frames, RecordKind, decode
from store.times import from_us, to_us
from worker import snapshot
from worker.batch import I64, WHOLE_RECORD, Batch, Place, divide, read_batch
from worker.commit import Places, prepare, recognise, unwritable, write, write_states
from worker.decided import Policies
from worker.digest import digest, gather
from worker.fleet import Fleet
from worker.fragments import held
from worker.poison import is_not_now, poisonous
from worker.recall import recall
from worker.snapshot import Snapshot

MIB = 1 << 20
PART_BYTES = MIB
"""So much of a transaction is digested at a time: some 13,000 reports, for which numpy's calls cost a tenth
less each than for half as many, and the rest of a large batch meanwhile has the database working.
"""
POLL_S = 0.02
"""How often an idle worker looks for new records: eight bytes to read."""
GATHER_S = 0.1
"""A worker that keeps up begins a transaction at most so often. One costs as much as a thousand reports, so
one for each turn of a busy gateway would fill a processor. No alarm waits longer than this.
"""
LONGEST_S = 2.0
"""A transaction that took longer makes the next one smaller. So catching up with a slow database, or with
late data for compressed days, goes in steps, and after each of them the picture is newer.
"""
STANDS_S = 30.0
"""A worker that has something to read and has done no batch for so long stands, whatever the reason: each is
made to take `LONGEST_S`.
"""
FIRST_BYTES = 256 << 10
"""So much is taken at a time after a start or an error, until it is known how long that takes: what was too
much for somebody's memory, disk or patience begins anew with less, and not with the most.
"""
LEAST_BYTES = 64 << 10
"""No transaction is made smaller: its statements and its sync would be most of what it does."""
SOON_READ_BYTES = 256 << 20
"""Without a snapshot so much of the logs is read anew: some three million reports, a quarter of a minute."""
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0
NETWORK: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds
}
"""A server that vanished from the network is noticed within half a minute, not after the system's hours."""

log = structlog.get_logger("worker")

MISSING = "what came before is not in this database; `northwatch doctor` says what to do"
RECALLED = "as after an update, what the worker knows is read from the database and the log; nothing is lost"

SEARCHES: Final = 3
"""So often the same records are searched for what cannot be written. One search finds all of it, but for what
shows only when the rest can be written."""
CONTROLS: Final = 5
"""So many other records are tried before an error that should pass is taken for one's own."""
CONVICTIONS: Final = 3
"""So often in turn the record fails and another can be written: a network that breaks now and then would
convict by chance."""
RECOVERY_S: Final = 60.0
"""A server that lost a process recovers for a moment; so long is waited before all begins anew."""
PATIENCE: Final = 8
"""An error that should pass, and comes back so often at the same place with one connection after another, may
be about the data all the same. With the pauses that is after a quarter of a minute."""
LOST: Final = "lost"
"""Stands for the SQLSTATE of what ends the connection without a word: a network, or a process of the database
that died."""
ROOM: Final = "53"
"""Class of SQLSTATEs about which is waited however long it takes. Where the disk is full, a small report that
still finds a page would convict the large record that does not."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What people may decide about the worker."""

    policies: Policies = field(default_factory=Policies)
    batch_bytes: int = 4 * MIB
    """At most about so much of the logs goes into one transaction: some 50,000 reports, half a second. The
    more reports of a terminal come together, the less each costs."""
    snapshot_s: float = 5.0
    states_s: float = 2.0
    """The latest of all terminals is written at most so often."""
    quarantine: Limits = field(default_factory=Limits)
    """How much of what cannot be used is kept."""
    configured: Mapping[str, Any] = field(default_factory=dict)
    """Settings that facts depend on, by name, as the configuration has them: entered as a decision."""
    bind_plates: bool = True
    """A plate in a registration fills vehicles and installations where nobody has."""


class Worker:
    """Reads the logs of one machine into one database.

    Args:
        options: see `WorkerOptions`
        dsn: of the database; its schema is migrated
        log_directory: of the logs, which the gateways create, or of the only one
        state_directory: for the snapshot
        media_directory: for the contents of media; beside the state unless given
        connect: makes a connection in autocommit mode; tests put faults here
    """

    def __init__(
        self,
        options: WorkerOptions,
        dsn: str,
        log_directory: Path,
        state_directory: Path,
        *,
        media_directory: Path | None = None,
        connect: Callable[[str], cursors.Connection] | None = None,
    ) -> None:
        self.options = options
        self.registry = CollectorRegistry()
        self._dsn = dsn
        self._log_directory = log_directory
        self._state_directory = state_directory
        self._connect = connect or _connect
        self._connection: cursors.Connection | None = None
        self._reader: MergedReader | None = None
        self._claimed: set[UUID] = set()
        self._placement = Placement()
        self._blobs = Blobs(media_directory or state_directory.parent / "media")
        self._writer = ThreadPoolExecutor(1, "writer")
        self._fleet: Fleet | None = None
        self._positions: Positions = {}
        """What is committed: the cursors, of logs that have one."""
        self._reached: Order | None = None
        """The place of the last record taken among those of all logs, as far as known."""
        self._log_time_us: int | None = None
        """When the last record was received that is committed."""
        self._terminals = 0
        self._snapshot_positions: Positions | None = None
        self._releasable: Positions = {}
        """Up to where the log may go once the snapshot that is being written is on the disk."""
        self._saver = snapshot.Saver(state_directory, options.snapshot_s)
        self._states = _Cadence(options.states_s, share=0.1)
        self._pace = _Pace(options.batch_bytes)
        self._is_behind = False
        """The last batch was a large one, and more is there."""
        self._patience = _Patience()
        self._error = ""
        self._moved_at = time.monotonic()
        """When it last did a batch, or found nothing to do."""
        self._metrics = _Metrics(self.registry)

    def __repr__(self) -> str:
        return f"<Worker at {sum(self._positions.values())} {self._fleet}>"

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, whatever happens."""
        backoff = FIRST_BACKOFF_S
        while not stop.is_set():
            began = time.monotonic()
            try:
                did_something = self.step()
            except Exception as error:  # the place that owns the task: it says so and tries again
                self._give_up(error)
                stop.wait(backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_S)
                continue
            backoff = FIRST_BACKOFF_S
            if not did_something:
                stop.wait(POLL_S)
            elif not self._is_behind:
                stop.wait(max(0.0, began + GATHER_S - time.monotonic()))
        self.close()

    def step(self) -> bool:
        """Take one batch, if there is one, and say whether there was.

        Raises:
            psycopg.Error, LogError, CursorMoved, …: not now. Nothing was written; call again later.
        """
        reader = self._ready()
        records = reader.read(self._positions, self._pace.bytes)
        size = sum(len(each.payload) for each in records)
        self._is_behind = size > self._pace.bytes // 2
        if records:
            began = time.monotonic()
            self._saver.read(size)
            self._claim(reader)
            if self._reached is not None and order(records[0]) < self._reached:
                self._keep_snapshot(now=True)  # reading again must not cross this place, see `store.merge`
            error = self._try(records)
            if error is not None:
                log.error("batch_poisoned", position=records[0].position, error=_told(error))
                self._isolate(records)
                self._pace.failed()
            else:
                self._pace.took(size, time.monotonic() - began)
            self._patience.succeeded()
        else:
            self._moved_at = time.monotonic()
            if self._states.is_due():
                self._write_states_alone()
        self._keep_snapshot()
        self._error = ""
        return bool(records)

    def close(self) -> None:
        """Keep a last snapshot and let go of everything."""
        self._keep_snapshot(now=True)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._reader is not None:
            self._reader.close()
        self._saver.close()
        self._writer.shutdown()

    def health(self) -> dict[str, Any]:
        """Say how far behind the worker is, what it waits for, and for how long it has stood at one place.
        Positions are sums over all logs.
        """
        reader, positions, log_time_us = self._reader, dict(self._positions), self._log_time_us
        lag_bytes = _unread(reader, positions)
        error = self._error
        lag_s = stands_s = 0.0
        if lag_bytes != 0 or error:  # a log that cannot be read has more, for all one knows
            stands_s = time.monotonic() - self._moved_at
            lag_s = stands_s if log_time_us is None else max(0.0, time.time() - log_time_us / 1e6)
        if not error and stands_s > STANDS_S:
            error = f"no batch was done for {stands_s:.0f} s"
        return {
            "ok": not error,
            "cursor": sum(positions.values()),
            "snapshot": sum((self._snapshot_positions or {}).values()),
            "logs": len(reader.logs) if reader is not None else 0,
            "lag_bytes": lag_bytes,
            "lag_s": round(lag_s, 3),
            "log_time": None if log_time_us is None else from_us(log_time_us).isoformat(),
            "stands_s": round(stands_s, 3),
            "terminals": self._terminals,
            "error": error,
            "log_damaged": error.startswith(f"{LogCorrupt.__name__}:"),
            "log_skipped": self._skipped(),
        }

    def _skipped(self) -> list[dict[str, Any]]:
        """Give the damage that was passed and that nobody has taken note of."""
        try:
            passed = list(damage.unseen(self._log_directory))
        except (LogError, OSError):
            return []
        return [
            {"slot": slot, "position": each.begin, "bytes": each.end - each.begin} for slot, each in passed
        ]

    def _ready(self) -> MergedReader:
        """Have the logs, a connection, and the state that belongs to the cursors."""
        if self._reader is None:
            self._reader = MergedReader(self._log_directory)
        if self._connection is None:
            self._reconnect()
            self._fleet = None
        self._claim(self._reader)
        if self._fleet is None:
            self._configure()
            self._restore()
        return self._reader

    def _configure(self) -> None:
        """Let the configuration say what it does; only the worker of the logs may."""
        assert self._connection is not None
        if self.options.configured:
            decisions.configure(self._connection, self.options.configured)

    def _reconnect(self) -> None:
        self._connection = self._connect(self._dsn)
        self._claimed.clear()
        self._placement.forget()

    def _come_back(self) -> None:
        """Have a connection again, if the last error ended it."""
        assert self._connection is not None and self._reader is not None
        if not self._connection.closed:
            return
        until = time.monotonic() + RECOVERY_S
        while True:
            try:
                self._reconnect()
                self._claim(self._reader)
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(FIRST_BACKOFF_S)
            else:
                return

    def _claim(self, reader: MergedReader) -> None:
        """Be the only worker of every log."""
        assert self._connection is not None
        for name in reader.logs:
            if name.log_id in self._claimed:
                continue
            if not cursors.claim(self._connection, name.log_id):
                raise psycopg.OperationalError("another worker is reading this log into this database")
            self._claimed.add(name.log_id)

    def _restore(self) -> None:
        """Bring the state to what it was at the committed cursors, without writing anything."""
        reader, connection = self._reader, self._connection
        assert reader is not None and connection is not None
        self._fleet = None
        self._placement.forget()
        start = reader.start()
        self._positions = cursors.read(connection, start)
        log_time = cursors.log_time(connection, start)
        self._log_time_us = None if log_time is None else to_us(log_time)
        for log_id in start.keys() - self._positions.keys():
            if start[log_id] > FIRST:
                log.warning("history_missing", log=str(log_id), begins_at=start[log_id], do=MISSING)
        target = {log_id: self._positions.get(log_id, begin) for log_id, begin in start.items()}
        kept = snapshot.load(self._state_directory) if self._positions else None
        found = kept is not None and _leads_to(target, kept.positions, start)
        if kept is None or not found:
            kept = self._without_snapshot(start, target)
        self._reached = None
        self._replay(kept, target, partial(digest, policies=self.options.policies))
        if not found:
            self._adopt_pieces(kept.fleet)
        self._hold_pieces(kept.fleet)
        self._fleet, self._snapshot_positions = kept.fleet, kept.positions if found else None
        if not found:
            self._keep_snapshot(now=True)  # so that there is one for every cursor

    def _replay(self, kept: Snapshot, target: Positions, take: Callable[[Batch, I64, Fleet], object]) -> None:
        """Move the snapshot's fleet on to `target`."""
        reader, connection = self._reader, self._connection
        assert reader is not None and connection is not None
        aside: set[Place] = set()
        for log_id, end in target.items():
            begin = kept.positions.get(log_id, 0)
            if begin < end:
                aside |= quarantine.poisoned(connection, log_id, begin, end)
        positions = dict(kept.positions)
        while records := reader.read(positions, self.options.batch_bytes, until=target):
            for part in divide(records, self.options.batch_bytes):
                batch = read_batch(part, aside)
                with connection.transaction():
                    terminal = recognise(lambda: connection, batch, kept.fleet)
                take(batch, terminal, kept.fleet)
                positions |= batch.end
                self._reached = batch.reached
        for log_id, end in self._positions.items():
            if positions.get(log_id, 0) < end:
                raise CursorAhead(f"log {log_id} ends before its cursor at {end}", end)

    def _without_snapshot(self, start: Positions, target: Positions) -> Snapshot:
        """Begin where all began, if the logs still do and are soon read; that is exact. Else with what the
        database knows.
        """
        assert self._reader is not None and self._connection is not None
        fleet = Fleet()
        if self._positions and self._all_is_there(start, target):
            return Snapshot({}, fleet)
        if self._positions:
            log.info("snapshot_missing", means=RECALLED)
            fleet = recall(self._connection)
            # The log says which messages were whole already, as far as it is there; what waits is in a table.
            begin = {log_id: min(at, target[log_id]) for log_id, at in self._reader.consumed().items()}
            self._replay(Snapshot(begin, fleet), target, gather)
        return Snapshot(target, fleet)

    def _all_is_there(self, start: Positions, target: Positions) -> bool:
        """Say whether all that the database was ever told stands in logs that are soon read. What an upgrade
        decided and ended stands in none.
        """
        assert self._connection is not None
        unread = sum(target[log_id] - begin for log_id, begin in start.items())
        if unread > SOON_READ_BYTES or not _leads_to(target, {}, start):
            return False
        if cursors.is_upgraded(self._connection):
            return False
        return cursors.logs(self._connection) <= start.keys()

    def _adopt_pieces(self, fleet: Fleet) -> None:
        """Put into their table what an earlier version left in the log."""
        assert self._connection is not None
        terminal_id = fleet.terminals["id"]
        with self._connection.transaction():
            pieces.adopt(
                self._connection,
                [
                    held(hold, key, index, piece, int(terminal_id[key.terminal]))
                    for hold, key, index, piece in fleet.fragments.waiting()
                ],
            )

    def _hold_pieces(self, fleet: Fleet) -> None:
        """Hold what the table has, which is right at the cursors; what was read may have been read with other
        settings, or not to its beginning.
        """
        assert self._connection is not None
        numbers = fleet.terminals["id"][: len(fleet)].tolist()
        with self._connection.transaction():
            rows = pieces.read(self._connection)
        fleet.fragments.hold_only(rows, {number: index for index, number in enumerate(numbers)})

    def _take(
        self, records: Sequence[LogRecord], poisoned: Collection[Place] = (), *, keep: bool = True
    ) -> None:
        """Write what the records mean; with `keep` False only try."""
        connection, fleet = self._connection, self._fleet
        assert connection is not None and fleet is not None
        states_too = self._states.is_due()
        self._fleet = None  # until it is known to be right again
        batches: list[Batch] = []
        with connection.transaction(force_rollback=not keep):
            news = self._write_in_parts(connection, records, poisoned, (fleet, batches))
            if states_too:
                self._write_states(connection, fleet)
            end = {log_id: position for batch in batches for log_id, position in batch.end.items()}
            cursors.move(connection, self._positions, end, from_us(batches[-1].log_time_us))
            if states_too or news:
                _tell_viewers(connection, news or "facts")
        if keep:
            self._committed(batches, fleet, states_too)

    def _write_in_parts(
        self,
        connection: cursors.Connection,
        records: Sequence[LogRecord],
        poisoned: Collection[Place],
        into: tuple[Fleet, list[Batch]],
    ) -> str:
        """Digest and write the records part by part: while one is being written, the next one is digested.

        All of it is one transaction. Gives what viewers should look at: "fleet", "facts" or nothing.
        """
        fleet, batches = into
        places = Places(connection, self._placement, self._blobs, self.options.quarantine)
        news = set[str]()
        writing: Future[bool] | None = None

        def written() -> cursors.Connection:
            """Wait for the part that is being written; then the connection is free."""
            if writing is not None and writing.result():
                news.add("fleet")
            return connection

        try:
            for part in divide(records, PART_BYTES):
                batch = read_batch(part, poisoned)
                terminal = recognise(written, batch, fleet)
                facts = digest(batch, terminal, fleet, self.options.policies)
                prepare(facts)  # not beside the next part: two threads of numpy only wait for each other
                batches.append(batch)
                if facts.is_visible:
                    news.add("facts")
                written()
                writing = self._writer.submit(write, places, facts, bind=self.options.bind_plates)
            written()
        finally:
            if writing is not None:
                wait([writing])  # whatever happened: nobody else may use the connection meanwhile
        return next((each for each in ("fleet", "facts") if each in news), "")

    def _committed(self, batches: Sequence[Batch], fleet: Fleet, states_too: bool) -> None:
        self._fleet, self._terminals, self._moved_at = fleet, len(fleet), time.monotonic()
        for batch in batches:
            self._positions, self._reached = self._positions | batch.end, batch.reached
            self._log_time_us = batch.log_time_us
            self._metrics.took(batch, sum(self._positions.values()))
        if states_too:
            fleet.terminals["changed"] = False

    def _write_states(self, connection: cursors.Connection, fleet: Fleet) -> None:
        began = time.monotonic()
        self._placement.ahead(connection, datetime.now(UTC))
        write_states(connection, fleet)
        self._states.took(began)

    def _write_states_alone(self) -> None:
        """Write what is left when the log is quiet."""
        connection, fleet = self._connection, self._fleet
        assert connection is not None and fleet is not None
        self._states.took(time.monotonic())
        if fleet.terminals["changed"][: len(fleet)].any():
            with connection.transaction():
                self._write_states(connection, fleet)
                _tell_viewers(connection, "facts")
            fleet.terminals["changed"] = False

    def _try(self, records: Sequence[LogRecord]) -> Exception | None:
        """Take the records, and give the error if it is about them; then the state is restored."""
        try:
            self._take(records)
        except Exception as error:
            if not self._is_about_data(error):
                raise
            self._come_back()
            self._restore()
            return error
        return None

    def _attempt(
        self, records: Sequence[LogRecord], aside: Collection[Place] = (), *, keep: bool = True
    ) -> Exception | None:
        """Take the records on a copy of the state, and give the error if it is about them; then, or with
        `keep` False, everything is as it was.
        """
        before = self._fleet
        assert before is not None
        self._fleet = before.copy()
        error = None
        try:
            self._take(records, aside, keep=keep)
        except Exception as failed:
            if not self._is_about_data(failed):
                raise
            error = failed
        if error is not None or not keep:
            self._come_back()
            self._fleet = before
            self._placement.forget()
        return error

    def _is_about_data(self, error: Exception) -> bool:
        """Whatever it is, if it is not of the moment it is about these records, and others must go on."""
        return not is_not_now(error) or self._patience.is_over(error)

    def _isolate(self, records: Sequence[LogRecord]) -> None:
        """Write the records without what cannot be written, which goes to quarantine."""
        aside: set[Place] = set()
        for _ in range(SEARCHES):
            found = self._search(records, aside)
            if found <= aside:
                break
            aside |= found
            if self._attempt(records, aside) is None:
                self._note_aside(records[0], len(aside))
                return
        self._divide(records)

    def _search(self, records: Sequence[LogRecord], aside: Collection[Place]) -> set[Place]:
        """Say where among the records frames stand that cannot be written, as far as each can be tried."""
        connection, before = self._connection, self._fleet
        assert connection is not None and before is not None
        fleet, found = before.copy(), set[Place]()
        places = Places(connection, self._placement, self._blobs)
        try:
            with connection.transaction(force_rollback=True):
                for part in divide(records, PART_BYTES):
                    batch = read_batch(part, aside)
                    terminal = recognise(lambda: connection, batch, fleet)
                    found |= unwritable(places, digest(batch, terminal, fleet, self.options.policies))
        except Exception as error:
            if not self._is_about_data(error):
                raise
        self._come_back()
        self._placement.forget()
        return found

    def _divide(self, records: Sequence[LogRecord]) -> None:
        """Take the records in ever smaller parts, until one that cannot be written stands alone."""
        waiting = [records]
        while waiting:
            part = waiting.pop()
            if len(part) == 1:
                self._set_aside(part[0], records)
            elif self._attempt(part) is not None:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]

    def _set_aside(self, record: LogRecord, batch: Sequence[LogRecord]) -> None:
        """Write one record, without the frames that cannot be written, or else without all of it; what is
        left out goes to quarantine.

        If even that cannot be written, the fault is not in the record: the error goes to the caller.
        """
        error = self._attempt([record])
        if error is not None and is_not_now(error):
            error = self._convicted(record, batch, error)
        if error is None:
            return
        frames = _places(record)

        def can_be_written(chosen: Sequence[Place]) -> bool:
            return self._attempt([record], set(frames).difference(chosen), keep=False) is None

        aside = poisonous(frames, can_be_written)
        if self._attempt([record], aside) is not None:
            aside = [(record.log.log_id, record.position, WHOLE_RECORD)]
            self._take([record], aside)
        self._note_aside(record, len(aside))

    def _convicted(self, record: LogRecord, batch: Sequence[LogRecord], error: Exception) -> Exception | None:
        """Give the error that a record meets whenever others can be written; None where it was written.

        Raises:
            Exception: it is not the record's.
        """
        for _ in range(CONVICTIONS):
            if not self._can_write_others(record, batch):
                raise error
            again = self._attempt([record])
            if again is None:
                return None
            error = again
        return error

    def _can_write_others(self, record: LogRecord, batch: Sequence[LogRecord]) -> bool:
        """Say whether frames that came after this record can be written while it cannot: then the database is
        there.
        """
        behind = batch[batch.index(record) + 1 :]
        others = [each for each in behind if each.kind is RecordKind.FRAMES]
        return any(self._attempt([each], keep=False) is None for each in others[:CONTROLS])

    def _note_aside(self, record: LogRecord, count: int) -> None:
        log.error("poison_set_aside", position=record.position, places=count)
        self._metrics.poisoned.inc(count)

    def _keep_snapshot(self, *, now: bool = False) -> None:
        """Write a snapshot when it is time, and let the log go up to the last one on the disk. With `now` it
        is the state of now that is on the disk when this returns.
        """
        if self._fleet is None or self._reader is None:
            return
        self._let_go(wait=now)
        clock_s = time.monotonic()
        if self._positions != self._snapshot_positions and (now or self._saver.is_due(clock_s)):
            self._saver.begin(Snapshot(self._positions, self._fleet), clock_s)
            self._snapshot_positions = self._positions
            self._releasable = self._positions
            self._let_go(wait=now)

    def _let_go(self, *, wait: bool) -> None:
        try:
            is_on_disk = self._saver.finished(wait=wait)
        except OSError:
            self._snapshot_positions = None
            raise
        if is_on_disk and self._reader is not None:
            self._reader.release(self._releasable)

    def _give_up(self, error: Exception) -> None:
        """Forget everything that may be wrong now; the next step begins anew."""
        message = f"{type(error).__name__}: {error}".strip()
        if message != self._error:
            log.warning("worker_waits", error=message)
        self._error = message
        if self._connection is not None:
            self._patience.failed(error, self._positions)
        self._pace.failed()
        self._metrics.failures.inc()
        if isinstance(error, LogError):
            self._reader = None
        self._fleet = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Patience:
    """How often the same error of the database came at the same place."""

    def __init__(self) -> None:
        self._what: tuple[str | None, Positions] = None, {}
        self._count = 0

    def failed(self, error: Exception, positions: Positions) -> None:
        """Note an error for which is waited, and which came while there was a connection."""
        what = _kind(error), positions
        self._what, self._count = what, self._count + 1 if what == self._what else 1

    def succeeded(self) -> None:
        """Note that something was written."""
        self._count = 0

    def is_over(self, error: Exception) -> bool:
        """Say whether it is time to ask what it is about. Errors that are not of the database say nothing of
        it; those of `ROOM` are of the server.
        """
        kind = _kind(error)
        if kind is None or kind.startswith(ROOM):
            return False
        return kind == self._what[0] and self._count >= PATIENCE


def _kind(error: Exception) -> str | None:
    """Give an error's SQLSTATE; `LOST` where the connection ended without one, None where it has none."""
    if not isinstance(error, psycopg.Error):
        return None
    return LOST if error.sqlstate is None and isinstance(error, psycopg.OperationalError) else error.sqlstate


class _Pace:
    """How much of the logs is taken at a time: what the database takes within `LONGEST_S`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._set(FIRST_BYTES)

    def took(self, size: int, seconds: float) -> None:
        """Note how long a transaction took with so many bytes."""
        if seconds > LONGEST_S:
            self._set(round(size * LONGEST_S / seconds))
        elif seconds < LONGEST_S / 4 and size > self.bytes // 4:
            self._set(2 * self.bytes)  # after so much less than it may be, nothing is known

    def failed(self) -> None:
        """Try with less next time."""
        self._set(min(self.bytes // 2, FIRST_BYTES))

    def _set(self, wanted: int) -> None:
        self.bytes = min(self._most, max(LEAST_BYTES, wanted))


class _Cadence:
    """When something is done again that may take long with a large fleet: every so often, and never more
    than a share of the time.
    """

    def __init__(self, every_s: float, *, share: float) -> None:
        self._every_s = every_s
        self._share = share
        self._due = 0.0

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def took(self, began: float) -> None:
        """Note that it was done just now and began then."""
        now = time.monotonic()
        self._due = now + max(self._every_s, (now - began) / self._share) if self._every_s else 0.0


class _Metrics:
    """What Prometheus sees of the worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.frames = Counter("northwatch_worker_frames", "Frames read from the log", registry=registry)
        self.batches = Counter("northwatch_worker_batches", "Transactions committed", registry=registry)
        self.failures = Counter(
            "northwatch_worker_failures", "Attempts that failed and are repeated", registry=registry
        )
        self.poisoned = Counter(
            "northwatch_worker_poisoned", "Frames that could not be written", registry=registry
        )
        self.log_time = Gauge(
            "northwatch_worker_log_time_seconds", "Receipt of the last record", registry=registry
        )
        self.cursor = Gauge("northwatch_worker_cursor_bytes", "Sum of all cursors", registry=registry)

    def took(self, batch: Batch, cursor: int) -> None:
        self.frames.inc(len(batch.session))
        self.batches.inc()
        self.log_time.set(batch.log_time_us / 1e6)
        self.cursor.set(cursor)


def _places(record: LogRecord) -> list[Place]:
    """Give the places of a record's frames."""
    content = decode(record.kind, record.payload)
    count = len(content.sessions) if isinstance(content, Frames) else 0
    return [(record.log.log_id, record.position, ordinal) for ordinal in range(count)]


def _unread(reader: MergedReader | None, positions: Positions) -> int | None:
    """Say how many bytes the logs have from `positions` on; None where that cannot be known."""
    try:
        return reader.unread(positions) if reader is not None else None
    except (LogError, OSError):
        return None


def _leads_to(target: Positions, positions: Positions, start: Positions) -> bool:
    """Can a snapshot at `positions` be moved on to `target`? Not where the database is an older copy, nor
    where it does not know a log whose beginning is deleted.
    """
    is_behind = all(position <= target.get(log_id, position) for log_id, position in positions.items())
    return is_behind and all(start[log_id] <= FIRST for log_id in target.keys() - positions.keys())


def _connect(dsn: str) -> cursors.Connection:
    connection = psycopg.connect(dsn, autocommit=True, application_name="northwatch worker", **NETWORK)
    # The cursor lets the log be deleted, so a commit must be on the disk whatever the server's default is.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    )
    # A batch is bounded by its bytes, and so is what it opens of compressed days. The bound of TimescaleDB
    # would refuse the same batch for ever. Elsewhere the setting means nothing.
    connection.execute("SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
    return connection


def _told(error: Exception) -> str:
    """Say an error and where it came from."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error!r} in {where.filename}:{where.lineno}"


def _tell_viewers(connection: cursors.Connection, what: str) -> None:
    """Make monitors look when the transaction commits."""
    connection.execute("SELECT pg_notify(%s, %s)", [LIVE_CHANNEL, what])
