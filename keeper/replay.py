"""Replay 重放: what was received goes through today's decoder and rules once more, beside the live tables.

    start → Reading.step, step, … → compare → (a person looks) → adopt

The worker's own code writes into a shadow (`store.shadow`), with a state that is empty where reading begins:
a lead-in before the time in question, so that open alarms, sessions and the fixes before are known where
comparing begins. Facts, the worker's state and how far it has read are one transaction each few seconds of
work, so a replay that was killed goes on where it was.

What people decided is used where the log gives it its place, or as it is now. What they did is part of the
story as well: an alarm that a person ended ends in the shadow at the same time of the log. Tickets are not
replayed: opening one is a decision of that day, and somebody may have driven out for it.

    ReplayError
    ├── ReplayBusy          another process works on this replay
    ├── NothingReceived     neither archive nor logs have anything of that time
    ├── OtherVersion        the replay was begun by a version that remembers differently
    └── Unwritable          facts of a record cannot be written
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import numpy as np
import psycopg

from alerts.bits import EDITIONS
from protocol.columns import identities
from protocol.edition import Edition
from store import archive, decisions, differences, shadow, terminals
from store.archive import Archive
from store.blobs import Blobs
from store.chunk import Chunk
from store.log import CursorBehind, LogReader, LogRecord
from store.merge import Positions, logs_in
from store.pieces import Changes
from store.placement import Placement
from store.quarantine import Limits
from store.records import RecordKind, SessionOpened
from store.shadow import Handled, Shadow
from store.times import from_us, to_us
from worker import snapshot
from worker.batch import Batch, Place, read_batch
from worker.commit import Places, recognise, write
from worker.decided import LASTING, Policies
from worker.digest import digest
from worker.fleet import Fleet
from worker.poison import is_not_now

Connection = psycopg.Connection[Any]
Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""

DecisionsOf: TypeAlias = Literal["then", "now"]

LEAD_IN: Final = timedelta(days=1)
"""Longer than a vehicle usually stands still and silent, and than any message in pieces is waited for."""
ADOPTED_AT_ONCE: Final = 2000
"""Differences in one transaction: the worker's batches and the desk do not wait long for their rows."""
_NO_END: Final = 1 << 62


class ReplayError(Exception):
    """A replay cannot go on."""


class ReplayBusy(ReplayError):
    """Another process works on this replay."""


class NothingReceived(ReplayError):
    """Neither archive nor logs have anything of that time."""


class OtherVersion(ReplayError):
    """The replay was begun by a version that remembers differently."""


class Unwritable(ReplayError):
    """Facts of a record cannot be written."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What a replay must be told."""

    dsn: str
    data_dir: Path
    policies: Policies = field(default_factory=Policies)
    quarantine: Limits = field(default_factory=Limits)
    """Of each terminal and reason; there is no bound of the whole in a shadow, which is forgotten."""
    batch_bytes: int = 1 << 20
    lead_in: timedelta = LEAD_IN
    stretch_s: float = 10.0
    """So long is read in one transaction: what a kill costs, and how often the state is kept."""

    @property
    def blobs(self) -> Blobs:
        """Contents of media are the live ones: the same content is the same file."""
        return Blobs(self.data_dir / "media")


def start(
    options: ReplayOptions,
    since: datetime,
    until: datetime,
    identity: str | None = None,
    *,
    decisions_of: DecisionsOf = "then",
) -> int:
    """Begin a replay of what was received from `since` and before `until`, and give its number. It goes by
    what people had decided at each place, or by all that they have by now.

    The end is moved to where the live tables and the archive end: what is in neither yet cannot be compared.

    Raises:
        NothingReceived
    """
    with connect(options.dsn) as connection:
        known = [at for at in (shadow.log_time(connection), _archived_until(options)) if at is not None]
        until = min(until, max(known, default=since) + timedelta(microseconds=1))
        if until <= since:
            raise NothingReceived(f"nothing is known that was received from {since.isoformat()} on")
        if identity is not None and not terminals.ids(connection, [identity]):
            raise NothingReceived(f"no terminal {identity} is known here; replay all of them to find it")
        begin = since - options.lead_in
        is_now = decisions_of == "now"
        version = decisions.newest(connection) if is_now else decisions.at_place(connection, begin)
        return shadow.create(connection, (begin, since, until), identity, version)


class Reading:
    """Reads the archive and the logs behind it into a shadow.

    Raises:
        ShadowMissing, ReplayBusy
    """

    def __init__(self, options: ReplayOptions, number: int) -> None:
        self._options = options
        self._live = connect(options.dsn)
        self.about = _claimed(self._live, number)
        self._shadow = connect(options.dsn)
        shadow.enter(self._shadow, number)
        self._fleet: Fleet | None = None
        self._batches: Iterator[list[LogRecord]] = iter(())
        self._handled: list[Handled] = []
        self._aside: set[Place] = set()
        self._placement = Placement()

    def __repr__(self) -> str:
        return f"<Reading of replay {self.about.number}, at {self.about.reached}>"

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self._shadow.close()
        self._live.close()

    @property
    def share(self) -> float:
        """How much of the time was read, from 0 to 1."""
        about = self.about
        return max(0.0, min(1.0, (about.reached - about.begins_at) / (about.until - about.begins_at)))

    def step(self) -> bool:
        """Read a stretch, and say whether there is more to read.

        Raises:
            Unwritable, OtherVersion, and whatever database, archive and logs say: nothing of the stretch was
            written. Call again, or make a new `Reading` of the same number.
        """
        if self.about.stage != "reading":
            return False
        if self._fleet is None:
            self._restore()
        fleet, self._fleet = self._fleet, None  # until it is known to be right again
        assert fleet is not None
        try:
            more = self._stretch(fleet)
        except Exception as error:
            if is_not_now(error):
                raise
            self._set_aside(error)  # whatever it is: it is about these records
            return True
        self._fleet = fleet
        self.about = shadow.about(self._live, self.about.number)
        return more

    def _stretch(self, fleet: Fleet) -> bool:
        deadline = time.monotonic() + self._options.stretch_s
        spans = _Spans()
        first: datetime | None = None
        reached, count = self.about.reached, 0
        with self._shadow.transaction():
            is_over = False
            while not is_over and (not count or time.monotonic() < deadline):
                records = next(self._batches, None)
                if records is None:
                    is_over = True
                    continue
                self._take(records, fleet)
                spans.add(records)
                count += len(records)
                first = first or from_us(records[0].received_at_us)
                reached = max(reached, from_us(records[-1].received_at_us))
            shadow.add_spans(self._shadow, spans.found)
            shadow.keep(self._shadow, snapshot.pack(fleet), (first, reached), count)
            if is_over:
                self._finish(fleet)
        return not is_over

    def _finish(self, fleet: Fleet) -> None:
        shadow.finish(self._shadow, [piece.place for *_, piece in fleet.fragments.waiting()])

    def _take(self, records: list[LogRecord], fleet: Fleet) -> None:
        """Write what records mean, and before them what people did until then."""
        while self._handled and to_us(self._handled[0].handled_at) <= records[0].received_at_us:
            shadow.handle_alarm(self._shadow, self._handled.pop(0))
        batch = read_batch(records, self._aside)
        if self.about.identity is not None:
            batch = _only(batch, self.about.identity)
        terminal = recognise(lambda: self._shadow, batch, fleet)
        facts = digest(batch, terminal, fleet, self._options.policies)
        facts.decided = None  # it has its place already
        facts.tickets.clear()
        facts.clones.clear()  # of now, and not of then
        facts.pieces = Changes()  # they are kept with the rest of the worker's state
        if self.about.identity is not None:
            index = fleet.index.get(self.about.identity)
            wanted = None if index is None else int(fleet.terminals["id"][index])
            facts.quarantined = [each for each in facts.quarantined if each.terminal_id == wanted]
        places = Places(self._shadow, self._placement, self._options.blobs, self._options.quarantine)
        write(places, facts, bind=False)

    def _restore(self) -> None:
        """Bring everything to where the shadow is."""
        packed, positions = shadow.kept(self._shadow)
        self.about = shadow.about(self._live, self.about.number)
        self._fleet = self._remembered(packed)
        self._handled = shadow.handled(self._live, self.about.reached, self.about.until)
        moments = [to_us(each.handled_at) for each in self._handled]
        records = _records(self._options, self.about, positions, _ends(self._live, self._options))
        self._batches = _batches(records, self._options.batch_bytes, moments)

    def _remembered(self, packed: bytes | None) -> Fleet:
        if packed is not None:
            try:
                return snapshot.unpack(packed)
            except (ValueError, KeyError) as error:
                raise OtherVersion(
                    f"replay {self.about.number} was begun by another version ({error});"
                    f" `northwatch replay --drop {self.about.number}` and begin again"
                ) from error
        return self._unremembered()

    def _unremembered(self) -> Fleet:
        """Begin with what the live tables say of the moment at which reading begins."""
        fleet = Fleet()
        fleet.decided.version = self.about.version
        known = shadow.known(self._shadow)
        for identity, number, *_ in known:
            fleet.add(identity, number)
        fleet.grow()
        for index, (_, _, edition, has_authenticated) in enumerate(known):
            if edition is not None:
                fleet.terminals["edition"][index] = EDITIONS.index(Edition(edition))
            fleet.silence.authenticated[index] = has_authenticated
        # What is stored of others was perhaps said by strangers, and did not count.
        index_of = {number: index for index, (_, number, _, counts) in enumerate(known) if counts}
        for number, newest_us in shadow.newest(self._live, self.about.begins_at):
            if number in index_of:
                fleet.terminals["newest_us"][index_of[number]] = newest_us
        fleet.take(decisions.at(self._shadow, self.about.version, LASTING))
        return fleet

    def _set_aside(self, error: Exception) -> None:
        """Leave out what could not be written when it came either; anything else is news."""
        known = shadow.poisoned(self._live, self.about.begins_at, self.about.until)
        if self._aside >= known:
            raise Unwritable(
                f"what was received after {self.about.reached.isoformat()} cannot be written: {error!r}"
            ) from error
        self._aside = known


def compare(options: ReplayOptions, number: int, progress: Progress | None = None) -> Shadow:
    """Compare the shadow with the live tables, if that was not done yet, and say how the replay is now.

    Raises:
        ShadowMissing, ReplayBusy
    """
    tell = progress or _tell_nobody
    with connect(options.dsn) as connection:
        replay = _claimed(connection, number)
        if replay.stage != "read":
            return replay
        with connection.transaction():
            differences.begin(connection, number)
        days = differences.days(connection, replay)
        others = [kind for kind in differences.KINDS if kind is not differences.POSITION]
        total = len(days) + len(others)
        for done, day in enumerate(days):
            tell(done, total)
            with connection.transaction():
                differences.compare_day(connection, replay, day)
        for done, kind in enumerate(others):
            tell(len(days) + done, total)
            with connection.transaction():
                differences.compare(connection, replay, kind)
        differences.end(connection, number)
        tell(total, total)
        return shadow.about(connection, number)


def adopt(options: ReplayOptions, number: int, by: str, progress: Progress | None = None) -> Shadow:
    """Take over what a compared replay says, and say how it is then. `by` is the name in the audit.

    Raises:
        ShadowMissing, ReplayBusy
        ReplayError: it is not compared yet.
    """
    tell = progress or _tell_nobody
    with connect(options.dsn) as connection:
        replay = _claimed(connection, number)
        if replay.stage == "adopted":
            return replay
        if replay.stage != "compared":
            raise ReplayError(f"replay {number} is not compared yet")
        total, done = sum(row["count"] for row in differences.summary(connection, number)), 0
        with connection.transaction():
            differences.adopt_terminals(connection, replay)
        for kind in differences.KINDS:
            more = 1
            while more:
                tell(done, total)
                with connection.transaction():
                    more = differences.adopt(connection, replay, kind, ADOPTED_AT_ONCE, blobs=options.blobs)
                done += more
        with connection.transaction():
            differences.finish(connection, replay, by)
        return shadow.about(connection, number)


def connect(dsn: str) -> Connection:
    """Connect as a replay does: in autocommit mode, and able to correct compressed days."""
    connection = psycopg.connect(dsn, autocommit=True, application_name="northwatch replay")
    connection.execute("SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
    return connection


def _claimed(connection: Connection, number: int) -> Shadow:
    replay = shadow.about(connection, number)
    if not shadow.claim(connection, number):
        raise ReplayBusy(f"another process is working on replay {number}")
    return replay


def _tell_nobody(_done: int, _total: int) -> None:
    pass


def _archived_until(options: ReplayOptions) -> datetime | None:
    directory = options.data_dir / "archive"
    for day in reversed(archive.days(directory)):
        for path in reversed(archive.chunk_paths(directory, day)):
            return from_us(Chunk(path).about.last_us)
    return None


def _ends(connection: Connection, options: ReplayOptions) -> Positions:
    """Say up to where the logs may be read: what the worker has not read is in no live table. What the
    archive has was read, even if a database restored from a backup knows nothing of it."""
    logs = [LogReader(path, slot=slot) for slot, path in logs_in(options.data_dir / "log").items()]
    read = shadow.cursors(connection)
    return {log.log_id: max(read.get(log.log_id, 0), log.archived()) for log in logs}


def _records(
    options: ReplayOptions, replay: Shadow, after: Positions, before: Positions
) -> Iterator[LogRecord]:
    """Give what was received in the time, from the archive and the logs behind it, in order of receipt."""
    done = dict(after)
    kept = Archive(options.data_dir / "archive", options.data_dir / "log", identities)
    while True:
        try:
            for record in kept.records(replay.begins_at, replay.until):
                log_id = record.log.log_id
                if done.get(log_id, 0) <= record.position < before.get(log_id, _NO_END):
                    done[log_id] = record.next_position
                    yield record
            return
        except CursorBehind:  # what was in the log is in the archive now
            continue


def _batches(records: Iterator[LogRecord], max_bytes: int, moments: list[int]) -> Iterator[list[LogRecord]]:
    """Divide records into batches that end where a person did something or the log says what was decided."""
    batch: list[LogRecord] = []
    size = following = 0
    for record in records:
        crossed = record.kind is RecordKind.DECIDED
        while following < len(moments) and moments[following] <= record.received_at_us:
            following, crossed = following + 1, True
        if batch and (crossed or size >= max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += record.next_position - record.position
    if batch:
        yield batch


def _only(batch: Batch, identity: str) -> Batch:
    """Leave one terminal's frames and sessions of a batch; what others' links say has no session then."""
    number = int(identity, 16)
    key = np.uint64(number >> 64), np.uint64(number & (1 << 64) - 1)
    kept = ((batch.frames.key_high == key[0]) & (batch.frames.key_low == key[1])).nonzero()[0]
    batch = batch.take(kept)
    for part in batch.parts:
        part.events[:] = [
            each
            for each in part.events
            if not isinstance(each.event, SessionOpened) or each.event.identity == identity
        ]
    return batch


class _Spans:
    """Parts of logs, joined where one follows the other."""

    def __init__(self) -> None:
        self._begin: dict[UUID, int] = {}
        self._end: dict[UUID, int] = {}
        self._done: list[tuple[UUID, int, int]] = []

    def add(self, records: list[LogRecord]) -> None:
        for record in records:
            log_id = record.log.log_id
            if self._end.get(log_id) != record.position:
                self._close(log_id)
                self._begin[log_id] = record.position
            self._end[log_id] = record.next_position

    @property
    def found(self) -> list[tuple[UUID, int, int]]:
        for log_id in list(self._begin):
            self._close(log_id)
        return self._done

    def _close(self, log_id: UUID) -> None:
        if log_id in self._begin:
            self._done.append((log_id, self._begin.pop(log_id), self._end.pop(log_id)))
