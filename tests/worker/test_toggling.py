"""Terminals whose alarms go on and off without end, or are about another place each time: they cost a bounded
number of changes and statements, and nobody else waits."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from alerts import bits
from protocol.edition import Edition
from protocol.messages import encode_body
from store.quality import Quality
from tests.worker.stories import Story, begin, worker

ALL = 0xFFFF_FFFF


class Counting(psycopg.Connection[Any]):
    """Counts its exchanges with the server."""

    exchanges = 0

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        return super().wait(gen, *args, **kwargs)


def exchanges_for(dsn: str, directory: Path, toggles: int, word: int) -> int:
    """Let one terminal toggle and one that is honest speed, in one batch; give the exchanges it takes."""
    story = Story(directory / f"log-{toggles}-{word}")
    wild, honest = story.open(f"1{toggles:011}"), story.open(f"2{toggles:011}")
    story.tick()
    for n in range(0, 2 * toggles, 500):
        each = range(n, min(n + 500, 2 * toggles))
        reports = [story.report(wild, alarm=word * (m % 2 == 0), lat=30 + m / 1_000) for m in each]
        story.frames([(wild, report) for report in reports])
    story.tell(honest, alarm=0b10)
    story.sync()
    return exchanges_of(story, dsn, directory / f"state-{toggles}-{word}")


def exchanges_of(story: Story, dsn: str, state: Path) -> int:
    """Let a worker read the story; give its exchanges with the server."""
    made: list[Counting] = []

    def connect(dsn: str) -> Counting:
        made.append(Counting.connect(dsn, autocommit=True))
        return made[-1]

    with worker(story, dsn, state, connect=connect) as running:
        before = made[0].exchanges if begin(running) and made else 0
        while running.step():
            pass
    assert before
    return made[0].exchanges


@pytest.mark.parametrize("word", [0b10, ALL])
def test_the_work_does_not_grow_with_the_toggles(dsn: str, tmp_path: Path, word: int) -> None:
    exchanges = [exchanges_for(dsn, tmp_path, toggles, word) for toggles in (250, 500, 1_000)]
    assert exchanges[2] <= exchanges[0] + 12, exchanges
    with psycopg.connect(dsn, row_factory=dict_row) as database:
        rows = database.execute(
            "SELECT identity, count(*) AS alarms, count(*) FILTER (WHERE ended_at IS NULL) AS open,"
            " sum(reports) AS reports FROM alarms a JOIN terminals t ON t.id = a.terminal_id"
            " GROUP BY identity ORDER BY identity"
        ).fetchall()
        unread = database.execute(
            "SELECT count(*) AS n FROM positions WHERE quality & %s <> 0", [int(Quality.ALARMS_UNREAD)]
        ).fetchone()
    of_wild, of_honest = rows[:3], rows[3:]
    assert all(each["alarms"] <= word.bit_count() for each in of_wild)
    assert [(each["alarms"], each["open"]) for each in of_honest] == [(1, 1)] * 3
    assert unread and unread["n"] > 0, "what was not followed is told"


def test_what_is_written_of_one_terminal_in_a_minute_is_bounded(dsn: str, tmp_path: Path) -> None:
    exchanges_for(dsn, tmp_path, 1_000, ALL)
    with psycopg.connect(dsn) as database:
        row = database.execute("SELECT count(*) FROM alarm_changes").fetchone()
    assert row and row[0] <= 600


def test_invented_places_of_many_are_few_alarms(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bits, "SHARED_CHANGES", 100)
    terminals, exchanges, rows = 20, list[int](), list[int]()
    for reports in (50, 100):
        story = Story(tmp_path / f"log-{reports}")
        wild = [story.open(f"{reports}{n:08}") for n in range(terminals)]
        honest = story.open(f"{reports}{terminals:08}")
        story.tick()
        for number in range(reports):
            place = bytes.fromhex("110501") + number.to_bytes(4, "big")
            body = encode_body(0x0200, Edition.E2013, story.body(alarm=0b10, lat=30 + number / 1_000)) + place
            story.frames([(session, story.plain(session, 0x0200, body)) for session in wild])
        story.tell(honest, alarm=0b10)
        story.sync()
        exchanges.append(exchanges_of(story, dsn, tmp_path / f"state-{reports}"))
        with psycopg.connect(dsn) as database:
            found = database.execute(
                "SELECT (SELECT count(*) FROM alarm_changes),"
                " (SELECT count(*) FROM alarms JOIN terminals t ON t.id = terminal_id WHERE identity = %s),"
                " (SELECT count(*) FROM positions WHERE quality & %s <> 0)",
                [story.sessions[honest][0], int(Quality.ALARMS_UNREAD)],
            ).fetchone()
        assert found and found[1] == 1 and found[2] > 0
        rows.append(found[0] - sum(rows))
    assert exchanges[1] <= exchanges[0] + 12, exchanges
    assert max(rows) <= terminals * (bits.OWN_CHANGES + 1) + 100 + 1, rows
