"""However reports come, live, late, twice, again by a replay: the facts of one pass in the order of time.

What vehicles say is the truth; only when and how often it arrives differs. Not compared is what says just
that: receipt, copies, late.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper import replay
from keeper.chore import Done
from keeper.chores import hours, journeys
from keeper.options import KeeperOptions
from keeper.replay import Reading, ReplayOptions
from protocol.messages.location import location
from store.grants import Process
from tests.databases import Server, as_process
from tests.worker.stories import FEW_STORIES, SECOND, Story, work

BEGIN = datetime(2026, 6, 1, 14, tzinfo=UTC)
"""22:00 in Beijing: what goes on for some hours crosses midnight, and the UTC midnight of a partition."""
VEHICLES = 3
REPORTS = 120
OVERSPEED, FATIGUE = 1 << 1, 1 << 2
"""Conditions that the terminal ends."""

FACTS: dict[str, LiteralString] = {
    "positions": """
        SELECT t.identity, p.reported_at, p.placed_at, p.body_hash, p.lat, p.lon, p.speed_kmh, p.alarm_bits,
               p.status_bits, p.mileage_km, p.quality, p.items
          FROM positions p JOIN terminals t ON t.id = p.terminal_id""",
    "alarms": """
        SELECT t.identity, a.condition, a.began_at, a.ended_at, a.lat, a.lon
          FROM alarms a JOIN terminals t ON t.id = a.terminal_id""",
    "legs": """
        SELECT t.identity, g.day, g.kind, g.began_at, g.ended_at, g.fixes, g.driving_s, g.driving_night_s,
               round(g.track_km::numeric, 3), round(g.gap_km::numeric, 3), round(g.odometer_km::numeric, 3)
          FROM legs g JOIN terminals t ON t.id = g.terminal_id""",
    "days": """
        SELECT t.identity, d.day, d.fixes, d.trips, d.stops, d.driving_s, d.first_fix_at, d.last_fix_at,
               round(d.track_km::numeric, 3), round(d.odometer_km::numeric, 3), d.max_speed_kmh
          FROM terminal_days d JOIN terminals t ON t.id = d.terminal_id""",
    "hours": """
        SELECT t.identity, h.hour, h.reports, h.unqualified, h.without_fix, h.max_speed_kmh
          FROM terminal_hours h JOIN terminals t ON t.id = h.terminal_id""",
    "states": """
        SELECT t.identity, s.reported_at, s.lat, s.lon, s.speed_kmh, s.mileage_km
          FROM terminal_states s JOIN terminals t ON t.id = s.terminal_id""",
}


@dataclass(frozen=True)
class Said:
    """What a vehicle says, when, and whether it can say it at once."""

    at_us: int
    body: dict[str, Any]
    """The fields of a location report."""
    is_cut_off: bool


def drive(dice: random.Random) -> list[Said]:
    """Drive and stand, sometimes without a network, and sometimes too fast or too long; that begins and ends
    on one side of where the network goes or comes: what nobody could hear cannot end what everybody heard.
    """
    at_us, lat, mileage_km, speed_kmh = round(BEGIN.timestamp() * 1e6), 41.8, 1000.0, 0.0
    is_cut_off, alarm, left, said = False, 0, 0, list[Said]()
    for number in range(REPORTS):
        if left == 0:
            left = dice.randrange(4, 16)
            is_cut_off, alarm = number + left < REPORTS and dice.random() < 0.4, 0
            fast = sorted(dice.sample(range(1, left - 1), 2))
        left -= 1
        if left == fast[1]:
            alarm = dice.choice([0, OVERSPEED, FATIGUE, OVERSPEED | FATIGUE])
        if left == fast[0] - 1:
            alarm = 0
        if dice.random() < 0.2:
            speed_kmh = dice.choice([0.0, 3.0, 45.0, 90.0])
        gap_s = dice.choice([10, 30, 30, 60, 290, 310, 700])
        at_us += gap_s * SECOND
        lat += speed_kmh * gap_s / 3600 / 111.2
        mileage_km += speed_kmh * gap_s / 3600
        at = datetime.fromtimestamp(at_us // SECOND, UTC)
        items = {"0x01": round(10 * mileage_km)}
        body = location(round(lat, 6), 123.4, at, speed_kmh=speed_kmh, alarm=alarm, extras=items)
        said.append(Said(at_us, body, is_cut_off))
    return said


Arriving = list[tuple[int, int, bytes]]
"""When, in which session, which frame."""


def in_order(story: Story, drives: dict[int, list[Said]]) -> Arriving:
    """Let everything arrive when it is said."""
    return [
        (said.at_us, session, report(story, session, said))
        for session, drive in drives.items()
        for said in drive
    ]


def as_it_comes(story: Story, drives: dict[int, list[Said]], dice: random.Random) -> Arriving:
    """Let what was said without a network come later, in parts among what is live, and some of all twice."""
    arriving: Arriving = []
    for session, drive in drives.items():
        missed: list[Said] = []
        waiting: list[bytes] = []
        backfill: list[bytes] = []
        told: list[bytes] = []
        for said in drive:
            if said.is_cut_off:
                missed.append(said)
                continue
            if missed:
                backfill = list(parts(story, session, missed, dice))
                waiting, missed = waiting + backfill, []
            come = len(waiting) if said is drive[-1] else dice.randrange(len(waiting) + 1)
            frames, waiting = waiting[:come], waiting[come:]
            # What comes alone, in an 0x0200, is late behind something newer only.
            is_alone = any(frame.startswith(b"\x02\x00") for frame in frames)
            told.append(report(story, session, said))
            frames.insert(0 if is_alone else dice.choice([0, come]), told[-1])
            if not waiting and dice.random() < 0.3:
                frames += dice.choice([[dice.choice(told)], backfill])
            arriving += [(said.at_us, session, frame) for frame in frames]
    return arriving


def parts(story: Story, session: int, missed: list[Said], dice: random.Random) -> Iterator[bytes]:
    """Divide what was missed into messages: batches from a blind zone, or old reports alone."""
    while missed:
        size = dice.randrange(1, 10)
        some, missed = missed[:size], missed[size:]
        if size == 1:
            yield report(story, session, some[0])
        else:
            yield story.plain(session, 0x0704, {"type": 1, "items": [each.body for each in some]})


def report(story: Story, session: int, said: Said) -> bytes:
    return story.plain(session, 0x0200, said.body)


def read(
    directory: Path,
    dsn: str,
    tell: Callable[[Story, dict[int, list[Said]]], Arriving],
    dice: random.Random,
    seed: int,
) -> Story:
    """Let a gateway, a worker and now and then the keeper take in what arrives."""
    story = Story(directory / "log")
    story.now_us = round(BEGIN.timestamp() * 1e6)
    chance = random.Random(seed)
    drives = {story.open(f"1391234567{number}"): drive(chance) for number in range(VEHICLES)}
    for at_us, session, frame in sorted(tell(story, drives), key=lambda each: each[0]):
        story.now_us = at_us + SECOND // 2
        story.frames([(session, frame)])
        if dice.random() < 0.02:
            story.tick()
            work(story, dsn, directory / "worker")
            derive(story, dsn)
    story.tick(2)
    work(story, dsn, directory / "worker")
    derive(story, dsn)
    return story


def derive(story: Story, dsn: str) -> None:
    """Let the keeper do what it does with positions."""
    now = datetime.fromtimestamp(story.now_us / 1e6, UTC)
    with psycopg.connect(as_process(dsn, Process.KEEPER), autocommit=True) as connection:
        for chore in (journeys, hours):
            done = Done(more=True)
            while done.more:
                done = chore.step(connection, KeeperOptions(dsn, Path()), now)


def facts(dsn: str) -> dict[str, Counter[tuple[Any, ...]]]:
    with psycopg.connect(dsn) as connection:
        return {name: Counter(connection.execute(query).fetchall()) for name, query in FACTS.items()}


@pytest.mark.timeout(900)
@given(seed=st.integers(0, 2**32), is_replayed=st.booleans())
@FEW_STORIES
def test_any_arrival_gives_the_facts_of_one_sorted_pass(
    tmp_path_factory: pytest.TempPathFactory, server: Server, seed: int, is_replayed: bool
) -> None:
    directory = tmp_path_factory.mktemp("arrival")
    dice = random.Random(~seed)
    sorted_dsn, dsn = server.clone(), server.clone()
    try:
        read(directory / "sorted", sorted_dsn, in_order, random.Random(0), seed)
        story = read(directory, dsn, lambda story, drives: as_it_comes(story, drives, dice), dice, seed)
        if is_replayed:
            lose_and_replay(story, dsn, directory)
        found, expected = facts(dsn), facts(sorted_dsn)
        differences = {name: (found[name] - expected[name], expected[name] - found[name]) for name in FACTS}
        assert not any(map(any, differences.values())), differences
    finally:
        server.drop(dsn)
        server.drop(sorted_dsn)


def lose_and_replay(story: Story, dsn: str, data_dir: Path) -> None:
    """Lose a third of the positions, and take them over from a replay of all that was received."""
    options = ReplayOptions(dsn, data_dir, stretch_s=0.0)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("DELETE FROM position_records WHERE body_hash % 3 = 0").rowcount > 50
    number = replay.start(options, BEGIN - timedelta(hours=1), BEGIN + timedelta(days=2))
    with Reading(options, number) as reading:
        while reading.step():
            pass
    replay.compare(options, number)
    replay.adopt(options, number, "test")
    derive(story, dsn)
