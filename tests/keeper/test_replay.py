"""Replays of random stories: what the worker wrote is found again, what was altered is found and repaired."""

import random
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from keeper import replay
from keeper.replay import Reading, ReplayOptions
from protocol.columns import identities
from store import differences, shadow
from store.archive import Archivist
from store.times import from_us
from tests.store.archives import AT_ONCE
from tests.worker.stories import BEGIN, Story, facts, work
from tests.worker.test_exactly_once import tell
from tests.worker.test_worker import QUICK

HOUR = timedelta(hours=1)


class Told:
    """A random story that the worker has read: some of it in the archive, some still in the log."""

    def __init__(self, data_dir: Path, dsn: str, seed: int, steps: int = 60) -> None:
        self.dsn = dsn
        self.options = ReplayOptions(dsn, data_dir, QUICK, batch_bytes=3000, stretch_s=0.0)
        self.story = Story(data_dir / "log")
        self.state = data_dir / "worker"
        dice = random.Random(seed)
        tell(self.story, dice, steps)
        self.work()
        archivist = Archivist(data_dir / "archive", data_dir / "log", identities, AT_ONCE)
        while archivist.step(self.story.now_us + 3_600_000_000):
            pass
        tell(self.story, dice, steps // 2)
        self.work()

    def work(self) -> None:
        work(self.story, self.dsn, self.state, policies=QUICK)

    def start(self, **given: Any) -> int:
        return replay.start(self.options, BEGIN - HOUR, from_us(self.story.now_us) + HOUR, **given)

    def replayed(self, **given: Any) -> int:
        number = self.start(**given)
        read(self.options, number)
        replay.compare(self.options, number)
        return number

    def found(self, number: int) -> dict[tuple[str, str], int]:
        with replay.connect(self.dsn) as connection:
            return {
                (row["kind"], row["change"]): row["count"] for row in differences.summary(connection, number)
            }

    def alter(self, statement: LiteralString) -> int:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(statement).rowcount


def read(options: ReplayOptions, number: int) -> None:
    with Reading(options, number) as reading:
        while reading.step():
            pass


@pytest.mark.parametrize("seed", range(4))
def test_a_replay_of_what_was_not_touched_finds_no_difference(tmp_path: Path, dsn: str, seed: int) -> None:
    told = Told(tmp_path, dsn, seed)
    before = facts(dsn)
    number = told.replayed()
    with replay.connect(dsn) as connection:
        assert not differences.examples(connection, number, 5)
        assert shadow.about(connection, number).records > 50
    assert not told.found(number)
    assert facts(dsn) == before
