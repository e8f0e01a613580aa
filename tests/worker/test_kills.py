"""A worker that is killed before any step of its transaction: nothing is lost, and nothing is there twice."""

import re
from pathlib import Path
from typing import Any

import psycopg

from protocol.edition import Edition
from store import media
from store.blobs import Blobs
from store.log import LogReader
from tests.databases import Server
from tests.mortal import mortal, wait_until_alone
from tests.worker.stories import Story, facts
from tests.worker.test_exactly_once import one_pass
from tests.worker.test_fragments import picture, pieces

STEPS = {
    "the transaction begins": "BEGIN.*",
    "terminals get their numbers": "INSERT INTO terminals",
    "the first part is copied": "COPY 1 .*",
    "a later part is copied": "COPY [2-9] position.*",
    "rows are staged": "COPY . staged_.*",
    "staged rows are merged": "INSERT INTO position.*",
    "a blob is written": r"open media/\*/\*.new",
    "a blob is made durable": r"fsync media/\*/\*.new",
    "a blob gets its name": r"rename media/\*/\*.new",
    "the name is made durable": r"fsync media/\*",
    "the row of a medium is written": "INSERT INTO media",
    "the row of an alarm is written": "WITH .*",
    "pieces that wait are written": "INSERT INTO pieces",
    "pieces of what is whole are let go": "DELETE FROM pieces.*",
    "latest states are written": "INSERT INTO terminal_states",
    "the cursor moves": "UPDATE cursors SET",
    "viewers are told": "SELECT pg_notify.*",
    "the transaction commits": "COMMIT after SELECT pg_notify.*",
    "a snapshot is made durable": "fsync state/snapshot.npz.new",
    "a snapshot gets its name": "replace state/snapshot.npz.new",
    "the log is released": "pwrite log/consumed",
}
"""What a worker has to have been killed before, and how `tests.mortal` names it."""
EACH_BEFORE_THE_NEXT = (
    "a blob is made durable",
    "a blob gets its name",
    "the name is made durable",
    "the row of a medium is written",
    "the transaction commits",
    "a snapshot is made durable",
    "a snapshot gets its name",
    "the log is released",
)
"""A killed process leaves what it wrote to the system; only the order shows that it outlives the machine."""


FRAGMENTS = 4
"""Of each medium."""


def test_killed_before_any_step_nothing_is_lost_or_there_twice(
    tmp_path: Path, server: Server, dsn: str
) -> None:
    told = Told(tmp_path / "log")
    blobs, reader, killed = Blobs(tmp_path / "media"), LogReader(told.story.directory), list[str]()
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        mortal("tests.worker.mortal", dsn, told.story.directory, tmp_path / "state") as ask,
    ):

        def live(last: str) -> list[str]:
            if cursor(connection) == reader.head():
                told.go_on()
            steps = ask(last)
            wait_until_alone(connection)
            assert media.prove(connection, blobs).broken is None
            (stored,) = connection.execute("SELECT count(*) FROM media").fetchone() or (0,)
            assert reader.consumed() <= cursor(connection), "the log has what is not yet in the database"
            (held,) = connection.execute("SELECT count(*) FROM pieces").fetchone() or (0,)
            assert held in (0, FRAGMENTS - 1), "and what waits is there with it"
            assert bool(held) == (cursor(connection) > told.fragments_at[stored])
            return steps

        live("")  # makes the days that the others find
        calm = live("")
        for step in dict.fromkeys(calm):
            # What the one before had done when it was killed is not done again; the second begins anew.
            if live(step)[-1] == step or live(step)[-1] == step:
                killed.append(step)
        live("")
    missing = [what for what, name in STEPS.items() if not any(re.fullmatch(name, step) for step in killed)]
    assert not missing, " | ".join(killed)
    places = [
        max(place for place, step in enumerate(calm) if re.fullmatch(STEPS[what], step))
        for what in EACH_BEFORE_THE_NEXT
    ]
    assert places == sorted(places), calm
    found = facts(dsn)
    assert len(found["media"]) == len(told.fragments_at) - 1
    assert found == one_pass(told.story, server, tmp_path / "calm")


class Told:
    """A story of transactions, in each of which everything happens that makes a worker do something."""

    def __init__(self, directory: Path) -> None:
        self.story = Story(directory)
        self.fragments_at: list[int] = []
        """Where in the log each medium begins."""
        self._unsent: list[tuple[int, bytes]] = []
        """The last fragment of a medium comes in the transaction behind that of the others."""

    def go_on(self) -> None:
        story, number = self.story, len(self.fragments_at)
        session = story.open(f"1391234{number:04}", Edition.E2013)
        other = story.open(f"1391235{number:04}", Edition.E2019)
        story.sync()
        self.fragments_at.append(LogReader(story.directory).head())
        *most, last = pieces(story, session, 0x0801, picture(number, bytes([number]) * 300), 100)
        assert len(most) == FRAGMENTS - 1
        story.frames([(session, frame) for frame in most])
        reports = [story.report(session, alarm=3, ago_s=ago) for ago in range(4, 0, -1)]
        for report in reports:
            story.frames([(session, report), (other, story.report(other))])
        story.frames([(session, reports[0]), (session, story.report(session, ago_s=90_000))])
        if self._unsent:
            story.frames(self._unsent)
        self._unsent = [(session, last)]
        story.tick()
        story.sync()


def cursor(connection: psycopg.Connection[Any]) -> int:
    """Say how far the log is in the database."""
    (position,) = connection.execute("SELECT coalesce(max(position), 0) FROM cursors").fetchone() or (0,)
    return int(position)
