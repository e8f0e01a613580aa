"""From a ready log into `positions`: the worker against a bare COPY of the very same rows.

    python -m benchmarks.ingest [--reports N] [--every S] [--rounds N] [DSN …]

The log holds what 10,000 mixed terminals say in a few minutes, in records as a gateway writes them. The
worker reads it with everything it does: quality, alarms, the offline engine, the latest states, the cursor.
Then its rows are sent again, in the order in which they lie there and as many a transaction as the worker's,
by a client that does nothing else, into an empty table with the same columns and indexes.

Runs on the embedded PostgreSQL, and on every server whose address is given, or is in
NORTHWATCH_TEST_DATABASE_URL. Both sides run in turn within one round; processor time is that of this process
and of those of the server that had to do with it. Where other things run on the machine, the ratio of the
processor times says more than that of the rates.
"""

import argparse
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final, LiteralString, TypeAlias

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import conninfo, sql

from benchmarks.measures import Measure, Options, summary
from benchmarks.rounds import machine, sync_time_us, table
from protocol.edition import Edition
from protocol.frame import Frame, raw_id_of
from protocol.messages import encode_body
from protocol.messages.location import location
from protocol.words import ACC_ON, POSITIONED
from store import schema
from store.embedded import Embedded
from store.log import LogLimits, LogWriter
from store.merge import SLOTS
from store.placement import Placement
from store.records import FrameFlag, Frames, SessionOpened, Started, Tick
from worker.run import Worker, WorkerOptions

I64: TypeAlias = npt.NDArray[np.int64]
U8: TypeAlias = npt.NDArray[np.uint8]

SERVER_VARIABLE: Final = "NORTHWATCH_TEST_DATABASE_URL"
TERMINALS: Final = 10_000
REPORTS: Final = 1_000_000
EVERY_S: Final = 10
"""Between two reports of a terminal."""
RECORD_FRAMES: Final = 500
"""Frames in a record: what 10,000 connections bring in one turn of a busy gateway."""
BEGIN: Final = datetime(2026, 6, 1, 4, tzinfo=UTC)
SECOND_US: Final = 1_000_000
FIRST_SESSION: Final = 1 << 40
COPY_IN: Final = "COPY position_records FROM STDIN (FORMAT BINARY)"
COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END: Final = b"\xff\xff"
WRITERS: Final = ("checkpointer", "background writer", "walwriter", "io worker")
"""Processes of a server that work for all its databases."""
FLOOR: Final = 0.6
"""The worker's rate over that of the bare COPY must not be less."""
HEAD: Final = [
    "database",
    "way",
    "rows/s",
    "client µs/row",
    "server µs/row",
    "both µs/row",
    "rate of COPY's",
    "COPY's processor time of its",
]

ITEMS: Final = tuple(
    bytes.fromhex(text)
    for text in (
        "01040001E240 030200A0 30011C 31010B 250400000001",  # mileage, speed, signal, satellites, inputs
        "01040001E240 02020320 030200A0 2A020000 300114 310108",  # fuel, state of sleep
        "01040001E240 300114 310108",
        "",
    )
)
"""Additional items that terminals of different makers append."""
HEARTBEATS, AGAIN, STORED = 0.05, 0.003, 0.001
"""Shares of the reports: how many heartbeats come with them, how many are sent again in the next record, and
how many bring a 0x0704 of the blind zone along, `STORED_REPORTS` old ones in a frame."""
STORED_REPORTS: Final = 5


class Terminals:
    """A fleet whose reports are made as columns: one frame for each kind of terminal by the declarations, and
    what differs from report to report put into copies of it.
    """

    def __init__(self) -> None:
        self.chance = np.random.default_rng(808)
        self.identities = [str(13_000_000_000 + number) for number in range(TERMINALS)]
        kind = self.chance.integers(0, 2 * len(ITEMS), TERMINALS)
        self.is_2019 = kind % 2 == 1
        self.items = kind // 2
        self.serial = self.chance.integers(0, 60_000, TERMINALS)
        plain = [self.frame(number, 0x0200, self.body(number, 0)) for number in range(TERMINALS)]
        self.length = np.array([len(frame) for frame in plain])
        self.plain = np.zeros((TERMINALS, self.length.max()), np.uint8)
        for number, frame in enumerate(plain):
            self.plain[number, : len(frame)] = np.frombuffer(frame, np.uint8)

    def body(self, number: int, second: int) -> bytes:
        """Give a location report by the declarations."""
        at = BEGIN + timedelta(seconds=second)
        body: bytes = encode_body(0x0200, Edition.E2013, location(41.8, 123.4, at, altitude_m=90))
        return body + ITEMS[int(self.items[number])]

    def frame(self, number: int, msg_id: int, body: bytes) -> bytes:
        """Give a plain frame of a terminal."""
        is_2019 = bool(self.is_2019[number])
        raw_id, version = raw_id_of(self.identities[number], is_2019), 1 if is_2019 else None
        self.serial[number] = (self.serial[number] + 1) % 65536
        return Frame(msg_id, raw_id, int(self.serial[number]), body, version=version).plain()

    def others(self, who: I64, second: int) -> list[Frames]:
        """Give what some terminals say besides: heartbeats, and reports from where there was no network."""
        beating = who[self.chance.random(len(who)) < HEARTBEATS].tolist()
        said = [(number, self.frame(number, 0x0002, b"")) for number in beating]
        for number in who[self.chance.random(len(who)) < STORED].tolist():
            old = [self.body(number, second - 600 - 10 * step) for step in range(STORED_REPORTS, 0, -1)]
            parts = [len(each).to_bytes(2) + each for each in old]
            body = len(old).to_bytes(2) + b"\x01" + b"".join(parts)
            said.append((number, self.frame(number, 0x0704, body)))
        plain = [np.frombuffer(frame, np.uint8) for _, frame in said]
        return [
            _frames(np.array([number]), np.array([len(each)]), each)
            for (number, _), each in zip(said, plain, strict=True)
        ]

    def reports(self, who: I64, second: int) -> Frames:
        """Let some terminals report at a second of the story."""
        plain, head, count = self.plain[who], np.where(self.is_2019[who], 17, 12), len(who)

        def put(offset: int, kind: str, values: Any) -> None:
            octets = np.broadcast_to(values, count).astype(kind).view(np.uint8).reshape(count, -1)
            plain[np.arange(count)[:, None], (head + offset)[:, None] + np.arange(octets.shape[1])] = octets

        self.serial[who] = (self.serial[who] + 1) % 65536
        clock = f"{BEGIN + timedelta(hours=8, seconds=second):%y%m%d%H%M%S}"
        put(-2, ">u2", self.serial[who])
        put(0, ">u4", np.where(self.chance.random(count) < 0.0005, 1 << 1, 0))  # overspeed, for one report
        put(4, ">u4", np.where(self.chance.random(count) < 0.02, ACC_ON, ACC_ON | POSITIONED))
        put(8, ">u4", 41_000_000 + who * 90 + second * 37 % 90_000)
        put(12, ">u4", 123_000_000 + who * 90 + second * 53 % 90_000)
        put(18, ">u2", self.chance.integers(0, 1200, count))
        put(20, ">u2", self.chance.integers(0, 360, count))
        put(22, "V6", np.frombuffer(bytes.fromhex(clock), "V6"))
        is_there = np.arange(plain.shape[1]) < self.length[who, None]
        plain[np.arange(count), self.length[who] - 1] = 0
        plain[np.arange(count), self.length[who] - 1] = np.bitwise_xor.reduce(
            np.where(is_there, plain, 0), axis=1
        )
        return _frames(who, self.length[who], plain[is_there])


def _frames(who: I64, length: I64, data: U8) -> Frames:
    authenticated = np.full(len(who), FrameFlag.AUTHENTICATED, np.uint16)
    return Frames(_sessions(who).astype(np.uint64), length.astype(np.uint16), authenticated, data)


def _sessions(who: Any) -> Any:
    """Give the session numbers of terminals: all of the gateway in the first slot."""
    return FIRST_SESSION + who * SLOTS


def _joined(parts: list[Frames]) -> Frames:
    return Frames(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Frames)))


def _some(frames: Frames, chosen: npt.NDArray[np.bool_]) -> Frames:
    """Give some of the frames, to be sent again."""
    data = frames.data[np.repeat(chosen, frames.lengths)]
    return Frames(frames.sessions[chosen], frames.lengths[chosen], frames.flags[chosen], data)


def write_log(directory: Path, reports: int, every_s: int) -> int:
    """Write the story, and give the position behind the terminals' arrival."""
    fleet, log = Terminals(), LogWriter(directory, limits=LogLimits(free_floor_bytes=0))
    begin_us = round(BEGIN.timestamp() * 1e6)
    log.append(Started("benchmark"), begin_us)
    for number, identity in enumerate(fleet.identities):
        session = _sessions(number)
        log.append(SessionOpened(session, session, identity, "192.0.2.1:4000"), begin_us)
    log.append(Tick(TERMINALS), begin_us)
    arrived = log.sync()
    turn = fleet.chance.permutation(TERMINALS) % every_s
    again: list[Frames] = []
    for second in range(max(1, reports * every_s // TERMINALS)):
        who = fleet.chance.permutation(np.flatnonzero(turn == second % every_s))
        for begin in range(0, len(who), RECORD_FRAMES):
            some = who[begin : begin + RECORD_FRAMES]
            said = fleet.reports(some, second)
            now_us = begin_us + second * SECOND_US + SECOND_US * begin // len(who)
            log.append(_joined([said, *again, *fleet.others(some, second)]), now_us)
            again = [_some(said, fleet.chance.random(len(some)) < AGAIN)]
        log.append(Tick(TERMINALS), begin_us + (second + 1) * SECOND_US)
        log.sync()
    log.close()
    return arrived


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run took."""

    rows: int
    seconds: float
    client_s: float
    """Processor time of this process."""
    server_s: float
    """… and of the server's processes that work for the database, and `WRITERS`."""

    @property
    def rate(self) -> float:
        return self.rows / self.seconds

    @property
    def row_cpu_s(self) -> float:
        """Processor time for a row."""
        return (self.client_s + self.server_s) / self.rows


class Server:
    """A PostgreSQL server on this machine, with a fresh migrated database for every run."""

    def __init__(self, name: str, dsn: str) -> None:
        self.name, self.dsn = name, dsn
        with psycopg.connect(dsn) as connection:
            self._postmaster = _parent(connection.info.backend_pid)

    @contextmanager
    def database(self) -> Iterator[str]:
        name = f"northwatch_bench_{secrets.token_hex(4)}"
        self._do("CREATE DATABASE {} TEMPLATE template0", name)
        dsn = conninfo.make_conninfo(self.dsn, dbname=name)
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                schema.migrate(connection)
            self._do("CHECKPOINT")
            yield dsn
        finally:
            self._do("DROP DATABASE {} WITH (FORCE)", name)

    @contextmanager
    def timed(self, dsn: str) -> Iterator[list[Taken]]:
        """Time a block that writes positions; what it took is in the list afterwards."""
        result: list[Taken] = []
        rows = _count(dsn)
        database = str(conninfo.conninfo_to_dict(dsn)["dbname"])
        begin, client_s, server_s = time.perf_counter(), time.process_time(), self._cpu_s(database)
        yield result
        seconds = time.perf_counter() - begin
        client_s, server_s = time.process_time() - client_s, self._cpu_s(database) - server_s
        result.append(Taken(_count(dsn) - rows, seconds, client_s, server_s))

    def _cpu_s(self, database: str) -> float:
        """Sum up what the server's processes took that work for this database, or that write for all."""
        took_ns = 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if _parent(int(process.name)) == self._postmaster and (
                    database in title or any(writer in title for writer in WRITERS)
                ):
                    took_ns += int((process / "schedstat").read_text().split()[0])
        return took_ns / 1e9

    def _do(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _count(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM positions").fetchone()
    return int(row[0]) if row else 0


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ingest(server: Server, log: Path, arrived: int) -> tuple[Taken, list[bytes]]:
    """Let the worker read the log; gives its rows as well, in pieces like its transactions."""
    with server.database() as dsn, tempfile.TemporaryDirectory() as state:
        worker = Worker(WorkerOptions(), dsn, log, Path(state))
        while worker.health()["cursor"] < arrived:
            worker.step()
        batches = 0
        with server.timed(dsn) as taken:
            while worker.step():
                batches += 1
        worker.close()
        with psycopg.connect(dsn) as connection:
            connection.execute("SET max_parallel_workers_per_gather = 0")  # in the order in which they lie
            with connection.cursor().copy(
                "COPY (SELECT * FROM position_records) TO STDOUT (FORMAT BINARY)"
            ) as copy:
                rows = [bytes(each) for each in copy][:-1]
    rows[0] = rows[0].removeprefix(COPY_HEAD)
    size = -(-len(rows) // batches)
    pieces = [b"".join(rows[begin : begin + size]) for begin in range(0, len(rows), size)]
    return taken[0], [COPY_HEAD + piece + COPY_END for piece in pieces]


def bare_copy(server: Server, pieces: list[bytes]) -> Taken:
    """Send the rows as they are, a transaction for each piece."""
    with server.database() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            Placement().ensure(connection, [(BEGIN + timedelta(days=more)).date() for more in (-1, 0, 1)])
        with server.timed(dsn) as taken:
            for piece in pieces:
                with connection.transaction(), connection.cursor().copy(COPY_IN) as copy:
                    copy.write(piece)
    return taken[0]


@dataclass(frozen=True, slots=True)
class Compared:
    """What the rounds on one server came to."""

    server: str
    rounds: list[tuple[Taken, Taken]]
    """The worker's run and that of the bare COPY."""

    @property
    def rate_ratio(self) -> float:
        """The worker's rate over that of the COPY."""
        return median(worker.rate / copy.rate for worker, copy in self.rounds)

    @property
    def cpu_ratio(self) -> float:
        """The processor time of the COPY for a row over the worker's."""
        return median(copy.row_cpu_s / worker.row_cpu_s for worker, copy in self.rounds)

    def rows(self) -> list[list[str]]:
        """Give the rows of the table, one for each way."""
        told = [f"{self.rate_ratio:.2f}", f"{self.cpu_ratio:.2f}"], ["", ""]
        return [
            [self.server, name, *_figures([pair[way] for pair in self.rounds]), *told[way]]
            for way, name in enumerate(("worker", "bare COPY"))
        ]


def compare(server: Server, log: Path, arrived: int, rounds: int) -> Compared:
    """Run both ways in turn."""
    taken: list[tuple[Taken, Taken]] = []
    for _ in range(rounds):
        worker, pieces = ingest(server, log, arrived)
        taken.append((worker, bare_copy(server, pieces)))
    return Compared(server.name, taken)


def _figures(taken: list[Taken]) -> list[str]:
    client, server = (
        median(getattr(each, name) / each.rows for each in taken) for name in ("client_s", "server_s")
    )
    rate = median(each.rate for each in taken)
    return [f"{rate:,.0f}", *(f"{seconds * 1e6:.1f}" for seconds in (client, server, client + server))]


def measure(given: list[str], reports: int, every_s: int, rounds: int) -> list[Measure]:
    """Compare on the embedded server and on those given."""
    with tempfile.TemporaryDirectory(prefix="northwatch-bench-") as folder:
        log, database = Path(folder) / "log", Embedded(Path(folder) / "database")
        arrived = write_log(log, reports, every_s)
        print(f"{machine()}; a durable write of 8 KiB takes {sync_time_us(Path(folder)):.0f} µs\n")
        servers = [Server("embedded", database.start())]
        try:
            servers += [Server(f"given {number}", dsn) for number, dsn in enumerate(given, 1)]
            found = [compare(server, log, arrived, rounds) for server in servers]
        finally:
            database.stop()
    print(table(HEAD, [row for each in found for row in each.rows()]))
    name = f"ingest, times the rate of a bare COPY: {' · '.join(each.server for each in found)}"
    asked = (FLOOR,) * len(found)
    return [Measure(name, asked, asked, [each.rate_ratio for each in found], "times")]


def run(options: Options) -> list[Measure]:
    given = [each for each in (os.environ.get(SERVER_VARIABLE),) if each]
    return measure(given, REPORTS, EVERY_S, options.rounds or (5 if options.long else 3))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("dsn", nargs="*", help=f"of other servers; else {SERVER_VARIABLE}")
    parser.add_argument("--reports", type=int, default=REPORTS)
    parser.add_argument(
        "--every", type=int, default=EVERY_S, help="seconds between two reports of a terminal"
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    given = options.dsn or [each for each in (os.environ.get(SERVER_VARIABLE),) if each]
    print("\n" + summary(measure(given, options.reports, options.every, options.rounds)))


if __name__ == "__main__":
    main()
