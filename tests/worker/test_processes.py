"""Several gateway processes: a terminal that hops between them gives the same facts as with one."""

import random
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.edition import Edition
from store.log import LogWriter
from store.records import SLOT_BITS, CloseReason, Event, SessionOpened, Started, Tick
from tests.databases import Server
from tests.worker.stories import (
    BEGIN_US,
    FEW_STORIES,
    SMALL,
    Story,
    begin,
    facts,
    finish,
    verdict,
    work,
    worker,
)
from tests.worker.test_exactly_once import tell
from tests.worker.test_worker import QUICK

SLOTS = 3


class Hall(Story):
    """Several gateways that write what happens to one fleet, at times that are all different. With `as_one`
    the same records are written by one gateway.
    """

    def __init__(self, directory: Path, seed: int, *, as_one: bool = False) -> None:
        self.directory = directory
        self.as_one = as_one
        self.writers = [
            LogWriter(directory / str(slot), limits=SMALL) for slot in range(1 if as_one else SLOTS)
        ]
        self.now_us = BEGIN_US
        self.sessions: dict[int, tuple[str, Edition]] = {}
        self.meanwhile: Callable[[], None] = lambda: None
        self._next = 1000
        self._serial = 0
        self._chance = random.Random(seed)
        self._slots: dict[int, int] = {}

    def open(self, identity: str, edition: Edition = Edition.E2013, slot: int | None = None) -> int:
        """Open a session, in some gateway if none is named."""
        chosen = self._chance.randrange(SLOTS) if slot is None else slot
        self._next += 1
        session = self._next << SLOT_BITS | (0 if self.as_one else chosen)
        self.sessions[session], self._slots[session] = (identity, edition), chosen
        self.event(SessionOpened(session, session, identity, "192.0.2.1:4000"))
        return session

    def event(self, event: Event) -> None:
        if isinstance(event, Tick | Started):  # of all gateways at once
            self.now_us += 1
            for writer in self.writers:
                writer.append(event, self.now_us)
        else:
            self._write(getattr(event, "session", 0), event)
        self.meanwhile()

    def frames(
        self, frames: Sequence[tuple[int, bytes]], *, authenticated: bool = True, flags: int = 0
    ) -> None:
        """Write frames, as one record of each gateway at a time."""
        for _, some in groupby(frames, key=lambda each: self._slots[each[0]]):
            chosen = list(some)
            self._write(chosen[0][0], self.record(chosen, verdict(authenticated, flags)))
            self.meanwhile()

    def sync(self) -> int:
        return sum(writer.sync() for writer in self.writers)

    def sync_some(self, dice: random.Random) -> None:
        """Make what some gateways wrote durable."""
        for writer in dice.sample(self.writers, dice.randrange(len(self.writers) + 1)):
            writer.sync()

    def end(self) -> None:
        """Let the gateways end: nothing follows."""
        for writer in self.writers:
            writer.close()

    def _write(self, session: int, record: Any) -> None:
        self.now_us += 1
        slot = 0 if self.as_one else self._slots.get(session, 0)
        self.writers[slot].append(record, self.now_us)


def comparable(found: Any) -> Any:
    """Leave out what says which gateway it was: slots in session numbers, and places in logs."""
    if isinstance(found, list):
        return [comparable(each) for each in found]
    if not isinstance(found, dict):
        return found
    return {
        name: value >> SLOT_BITS if name == "session" and value is not None else comparable(value)
        for name, value in found.items()
        if name not in ("position", "ordinal")
    }


def as_one(directory: Path, server: Server, seed: int, steps: int) -> dict[str, Any]:
    """Give the facts of the same story told by one gateway."""
    hall = Hall(directory / "one", seed, as_one=True)
    tell(hall, random.Random(seed), steps)
    dsn = server.clone()
    try:
        work(hall, dsn, directory / "one-state", policies=QUICK)
        return {name: sorted(comparable(rows), key=repr) for name, rows in facts(dsn).items()}
    finally:
        hall.end()
        server.drop(dsn)


@given(seed=st.integers(0, 2**32), cut=st.sampled_from([1, 3000, 1 << 20]), restarts=st.booleans())
@FEW_STORIES
def test_hopping_between_gateways_changes_no_fact(
    tmp_path_factory: pytest.TempPathFactory, server: Server, seed: int, cut: int, restarts: bool
) -> None:
    """The worker reads while they write, and while what some of them wrote is not yet durable."""
    directory = tmp_path_factory.mktemp("hall")
    expected = as_one(directory, server, seed, 60)
    hall, dice = Hall(directory / "logs", seed), random.Random(~seed)
    dsn = server.clone()
    options = {"policies": QUICK, "batch_bytes": cut, "snapshot_s": 1e9 if restarts else 0.0}

    def look() -> None:
        if dice.random() < 0.1:
            hall.sync_some(dice)
        if dice.random() < 0.04:
            with worker(hall, dsn, directory / "state", **options) as made:
                begin(made)
                while not restarts and made.step():
                    pass

    try:
        hall.meanwhile = look
        tell(hall, random.Random(seed), 60)
        hall.end()
        work_on(hall, dsn, directory / "state", **options)
        found = {name: sorted(comparable(rows), key=repr) for name, rows in facts(dsn).items()}
        assert found == expected
    finally:
        server.drop(dsn)


def work_on(hall: Hall, dsn: str, state: Path, **options: Any) -> None:
    """Read logs that are closed to their end."""
    with worker(hall, dsn, state, **options) as made:
        finish(made)


def links(dsn: str) -> list[tuple[str, int]]:
    """Give the link events in their order, with the second of each."""
    rows = sorted(facts(dsn)["link_events"], key=lambda row: (row["at"], row["session"]))
    return [(row["event"], round(row["at"].timestamp() - BEGIN_US / 1e6)) for row in rows]


def state_of(dsn: str) -> str:
    (state,) = facts(dsn)["terminal_states"]
    return str(state["link"])


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    hall = Hall(tmp_path / "logs", 0)
    hall.started()
    return hall


def tick_one(hall: Hall, slots: Sequence[int], seconds: int) -> None:
    """Let time go by for some gateways; the others are dead or stopped."""
    for _ in range(seconds):
        hall.now_us += 1_000_000
        for slot in slots:
            hall.writers[slot].append(Tick(), hall.now_us)


def test_an_older_session_that_ends_late_changes_nothing(hall: Hall, dsn: str, tmp_path: Path) -> None:
    first = hall.open("13912345678", slot=0)
    hall.tick()
    second = hall.open("13912345678", slot=1)
    hall.tell(second)
    hall.tell(first, lat=41.9)
    hall.close(first, CloseReason.TAKEN_OVER)
    hall.tick()
    hall.end()
    work_on(hall, dsn, tmp_path / "state")
    assert links(dsn) == [("opened", 0), ("opened", 1), ("taken_over", 1)]
    assert state_of(dsn) == "open"
    assert len(facts(dsn)["positions"]) == 2


def test_a_restart_ends_the_sessions_of_its_own_slot_alone(hall: Hall, dsn: str, tmp_path: Path) -> None:
    hall.open("13912345678", slot=0)
    hall.open("13912345679", slot=1)
    hall.tick()
    hall.writers[1].append(Started("again"), hall.now_us + 5)
    hall.tick()
    hall.end()
    work_on(hall, dsn, tmp_path / "state")
    assert links(dsn) == [("opened", 0), ("opened", 0), ("gateway_restarted", 1)]
    states = {row["identity"]: row["link"] for row in facts(dsn)["terminal_states"]}
    assert states == {"13912345678": "open", "13912345679": "closed"}


def test_a_gateway_that_dies_for_good_loses_its_sessions(hall: Hall, dsn: str, tmp_path: Path) -> None:
    hall.open("13912345678", slot=2)
    hall.tick()
    tick_one(hall, (0, 1), 40)
    hall.end()
    work_on(hall, dsn, tmp_path / "state")
    assert links(dsn) == [("opened", 0), ("gateway_lost", 32)]
    assert state_of(dsn) == "closed"


def test_a_gateway_that_only_paused_has_its_sessions_back(hall: Hall, dsn: str, tmp_path: Path) -> None:
    session = hall.open("13912345678", slot=2)
    other = hall.open("13912345679", slot=2)
    hall.tick()
    tick_one(hall, (0, 1), 40)
    hall.close(other)
    hall.tick()
    hall.tell(session)
    hall.end()
    work_on(hall, dsn, tmp_path / "state")
    assert links(dsn)[2:] == [
        *[("gateway_lost", 32)] * 2,
        ("peer_closed", 41),
        ("gateway_back", 42),
    ]
    states = {row["identity"]: row["link"] for row in facts(dsn)["terminal_states"]}
    assert states == {"13912345678": "open", "13912345679": "closed"}


def test_an_outage_of_all_is_no_loss_of_one(hall: Hall, dsn: str, tmp_path: Path) -> None:
    hall.open("13912345678", slot=1)
    hall.tick()
    hall.now_us += 600_000_000
    hall.writers[0].append(Tick(), hall.now_us)
    hall.writers[1].append(Started("again"), hall.now_us + 400_000)
    hall.end()
    work_on(hall, dsn, tmp_path / "state")
    assert links(dsn) == [("opened", 0), ("gateway_restarted", 601)]


def test_fragments_through_several_gateways_are_put_together(hall: Hall, dsn: str, tmp_path: Path) -> None:
    body = bytes(range(60))
    for number in (1, 2, 3):
        session = hall.open("13912345678", slot=number - 1)
        piece = body[20 * (number - 1) : 20 * number]
        plain = hall.plain(session, 0x0900, b"\xf0" + piece if number == 1 else piece, fragment=(3, number))
        hall.frames([(session, plain)])
        hall.tick()
    hall.end()
    work_on(hall, dsn, tmp_path / "state")
    (message,) = facts(dsn)["messages"]
    assert bytes(message["body"]) == b"\xf0" + body


def test_gateways_that_appear_later_are_read_as_well(tmp_path: Path, dsn: str) -> None:
    hall = Hall(tmp_path / "logs", 0, as_one=True)
    hall.tell(hall.open("13912345678", slot=0))
    hall.tick()
    hall.sync()
    with worker(hall, dsn, tmp_path / "state") as made:
        finish(made)
        hall.writers.append(LogWriter(tmp_path / "logs" / "1", limits=SMALL))
        hall.as_one = False
        hall.tell(hall.open("13912345679", slot=1))
        hall.end()
        finish(made)
    assert len(facts(dsn)["positions"]) == 2
