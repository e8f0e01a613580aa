"""Reports of hundreds of days at once cost a bounded number of statements."""

from pathlib import Path

from store.placement import PAST
from tests.worker.stories import Story
from tests.worker.test_toggling import exchanges_of

DAY_S = 86_400
PARTITIONS, EXCHANGES = 25, 3
"""So many are made at most where there is no day at all, with so many exchanges each, all else included."""


def exchanges_for(dsn: str, directory: Path, days: int) -> int:
    """Let a terminal report of so many days in one record; give the exchanges it takes."""
    story = Story(directory / f"log-{days}")
    session = story.open(f"1{days:011}")
    story.frames([(session, story.report(session, ago_s=ago * DAY_S)) for ago in range(days)])
    story.sync()
    return exchanges_of(story, dsn, directory / f"state-{days}")


def test_days_far_back_are_made_in_few_statements(dsn: str, tmp_path: Path) -> None:
    one, all_of_them = (exchanges_for(dsn, tmp_path, days) for days in (1, PAST.days))
    assert all_of_them <= one + EXCHANGES * PARTITIONS, (one, all_of_them)
