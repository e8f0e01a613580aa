"""Replays of random stories: what the worker wrote is found again, what was altered is found and repaired."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from keeper import replay
from keeper.replay import Reading, ReplayOptions, Unwritable
from protocol.columns import identities
from protocol.message import MESSAGES
from store import decisions, differences, shadow
from store.archive import Archivist
from store.decisions import SETTING, Decision
from store.records import Decided
from store.times import from_us
from tests.databases import Server
from tests.store.archives import AT_ONCE
from tests.worker.stories import BEGIN, Story, facts, work
from tests.worker.test_exactly_once import tell
from tests.worker.test_media import LEAST_MEDIUM, picture
from tests.worker.test_processes import SLOTS, Hall
from tests.worker.test_worker import QUICK
from worker import commit, messages
from worker.facts import Facts

HOUR = timedelta(hours=1)


class Told:
    """A random story that the worker has read: some of it in the archive, some still in the log."""

    def __init__(
        self, data_dir: Path, dsn: str, seed: int, steps: int = 60, story: Story | None = None
    ) -> None:
        self.dsn = dsn
        self.options = ReplayOptions(dsn, data_dir, QUICK, batch_bytes=3000, stretch_s=0.0)
        self.story = story or Story(data_dir / "log")
        self.state = data_dir / "worker"
        dice = random.Random(seed)
        tell(self.story, dice, steps)
        for number in range(6):
            self.story.say(max(self.story.sessions), 0x0900, b"\xf0" + bytes([number]))
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


@pytest.mark.parametrize("seed", range(2))
def test_a_replay_of_what_was_not_touched_finds_no_difference(tmp_path: Path, dsn: str, seed: int) -> None:
    told = Told(tmp_path, dsn, seed)
    before = facts(dsn)
    number = told.replayed()
    with replay.connect(dsn) as connection:
        assert not differences.examples(connection, number, 5)
        assert shadow.about(connection, number).records > 50
    assert not told.found(number)
    assert facts(dsn) == before


def test_what_several_gateways_received_is_one_story(tmp_path: Path, dsn: str) -> None:
    """Terminals hop between them, and each has a log of its own; some of all is in the archive."""
    told = Told(tmp_path, dsn, 8, story=Hall(tmp_path / "log", 8))
    with psycopg.connect(dsn) as connection:
        assert len(connection.execute("SELECT FROM cursors").fetchall()) == SLOTS
    original = facts(dsn)
    assert not told.found(told.replayed())
    expected = {what: told.alter(statement) for statement, what in ALTERED.items()}
    number = told.replayed()
    assert told.found(number) == {what: count for what, count in expected.items() if count}
    replay.adopt(told.options, number, "test")
    assert facts(dsn) == original


def test_a_part_of_the_time_is_judged_with_what_was_before_it(tmp_path: Path, dsn: str) -> None:
    told = Told(tmp_path, dsn, 5, steps=100)
    span = from_us(told.story.now_us) - BEGIN
    options = replace(told.options, lead_in=span / 4)
    for begin, end in ((0.4, 2.0), (0.3, 0.7), (0.6, 0.9)):
        number = replay.start(options, BEGIN + begin * span, BEGIN + end * span)
        read(options, number)
        replay.compare(options, number)
        assert not told.found(number)


def test_a_replay_goes_by_what_was_decided_then_or_now(tmp_path: Path, dsn: str) -> None:
    story = Story(tmp_path / "log")
    name, session = "worker.media_bytes_per_day", story.open("13912345678")
    with psycopg.connect(dsn) as connection:
        for value in (LEAST_MEDIUM, 1 << 30):
            decisions.decide_now(connection, "anna", [Decision(SETTING, name, value)])
    story.event(Decided(1))
    for number in range(3):
        story.frames([(session, story.plain(session, 0x0801, picture(number, bytes([number]))))])
    story.tick()
    story.event(Decided(2))
    story.frames([(session, story.plain(session, 0x0801, picture(9, b"9")))])
    story.tick()
    work(story, dsn, tmp_path / "worker")
    options = ReplayOptions(dsn, tmp_path)
    number = replay.start(options, BEGIN - HOUR, BEGIN + HOUR)
    read(options, number)
    replay.compare(options, number)
    now = replay.start(options, BEGIN - HOUR, BEGIN + HOUR, decisions_of="now")
    read(options, now)
    replay.compare(options, now)
    with replay.connect(dsn) as connection:
        assert differences.summary(connection, number) == []
        found = {(row["kind"], row["change"]): row["count"] for row in differences.summary(connection, now)}
    assert found["medium", "missing"] == 2


ALTERED: dict[LiteralString, tuple[str, str]] = {
    "UPDATE position_records SET latitude = 0, altitude = 9 WHERE serial % 5 = 1": ("position", "changed"),
    "DELETE FROM position_records WHERE serial % 5 = 2": ("position", "missing"),
    "DELETE FROM messages WHERE id % 2 = 0": ("message", "missing"),
    "UPDATE messages SET body = 'x'": ("message", "changed"),
    "UPDATE alarms SET last_seen_at = began_at, severity = 4, reports = 99 WHERE id % 3 = 0": (
        "alarm",
        "changed",
    ),
    "DELETE FROM link_events WHERE id % 4 = 0": ("link", "missing"),
    "UPDATE quarantine SET detail = 'x' WHERE id % 2 = 1": ("quarantine", "changed"),
    "INSERT INTO quarantine (received_at, reason, raw, log_id, position, ordinal)"
    " SELECT received_at, 'undecodable_body', 'x', log_id, position, 77 FROM quarantine WHERE id % 2 = 0": (
        "quarantine",
        "extra",
    ),
}


def test_exactly_what_was_altered_is_found_and_adopting_repairs_it(tmp_path: Path, dsn: str) -> None:
    told = Told(tmp_path, dsn, 11, steps=80)
    original = facts(dsn)
    expected = {what: told.alter(statement) for statement, what in ALTERED.items()}
    assert all(expected.values())
    number = told.replayed()
    assert told.found(number) == expected
    again = told.replayed()
    assert replay.adopt(told.options, number, "test").stage == "adopted"
    repaired = facts(dsn)
    assert repaired == original
    replay.adopt(told.options, again, "test")  # it was compared before: all of it is there now
    replay.adopt(told.options, number, "test")
    assert facts(dsn) == repaired
    assert not told.found(told.replayed())
    with psycopg.connect(dsn) as connection:
        ((detail,),) = connection.execute(
            "SELECT detail FROM audit WHERE action = 'replay.adopted' AND subject = %s", [str(number)]
        ).fetchall()
    assert detail["adopted"]["position.missing"] == expected["position", "missing"]


def test_alarms_that_a_replay_reveals_are_history_and_people_keep_their_say(tmp_path: Path, dsn: str) -> None:
    told = Told(tmp_path, dsn, 5, steps=80)
    told.alter(
        "WITH gone AS (DELETE FROM alarm_changes WHERE alarm_id % 2 = 0)"
        " DELETE FROM alarms WHERE id % 2 = 0 AND condition <> 'emergency'"
    )
    told.alter("UPDATE alarms SET severity = 3, handled_at = now(), result = 'real', note = 'kept'")
    before = told.alter("UPDATE alarms SET note = note")
    number = told.replayed()
    found = told.found(number)
    assert (
        {kind for kind, _ in found} == {"alarm"} and found["alarm", "missing"] and found["alarm", "changed"]
    )
    replay.adopt(told.options, number, "test")
    with psycopg.connect(dsn) as connection:
        kept, late = connection.execute(
            "SELECT count(*) FILTER (WHERE handled_at IS NOT NULL AND note = 'kept'),"
            "       count(*) FILTER (WHERE late AND NOT on_desk AND ended_at IS NOT NULL"
            "                          AND id IN (SELECT alarm_id FROM alarm_changes"
            "                                      WHERE detail = jsonb_build_object('replay', %s::integer)))"
            "  FROM alarms",
            [number],
        ).fetchone() or (0, 0)
    assert (kept, late) == (before, found["alarm", "missing"])


def test_an_alarm_that_a_person_ended_is_no_difference(tmp_path: Path, dsn: str) -> None:
    options = ReplayOptions(dsn, tmp_path, QUICK)
    story = Story(tmp_path / "log")
    session = story.open("13912345670")
    for _ in range(2):
        for _ in range(3):
            story.tell(session, alarm=1)
            story.tick()
        story.tell(session, alarm=0)
        work(story, dsn, tmp_path / "worker", policies=QUICK)
        with psycopg.connect(dsn) as connection:
            handled = from_us(story.now_us)
            connection.execute(
                "UPDATE alarms SET handled_at = %(at)s, result = 'test',"
                " ended_at = coalesce(ended_at, %(at)s) WHERE handled_at IS NULL",
                {"at": handled},
            )
        story.tick()
    number = replay.start(options, BEGIN - HOUR, BEGIN + HOUR)
    read(options, number)
    replay.compare(options, number)
    with replay.connect(dsn) as connection:
        assert not differences.examples(connection, number, 5)
        count = connection.execute("SELECT count(*) FROM replay_1.alarms").fetchone()
        assert count == connection.execute("SELECT count(*) FROM alarms").fetchone()


def test_one_terminal_is_replayed_alone(tmp_path: Path, dsn: str) -> None:
    told = Told(tmp_path, dsn, 3)
    told.alter("UPDATE position_records SET latitude = 0")
    number = told.replayed(identity="13912345671")
    with psycopg.connect(dsn) as connection:
        own = connection.execute(
            "SELECT count(*) FROM positions JOIN terminals t ON t.id = terminal_id"
            " WHERE identity = '13912345671'"
        ).fetchone()
    assert own is not None and told.found(number) == {("position", "changed"): own[0]}


def test_a_lost_database_is_filled_from_the_archive(tmp_path: Path, dsn: str, server: Server) -> None:
    told = Told(tmp_path, dsn, 7)
    lost = server.clone()
    try:
        options = ReplayOptions(lost, tmp_path, QUICK)
        archived = replay.start(options, BEGIN - HOUR, from_us(told.story.now_us) + HOUR)
        read(options, archived)
        replay.compare(options, archived)
        replay.adopt(options, archived, "test")
        with psycopg.connect(lost) as connection:
            (positions,) = connection.execute("SELECT count(*) FROM positions").fetchone() or (0,)
            (terminals,) = connection.execute(
                "SELECT count(*) FROM terminals WHERE id < 1000"
            ).fetchone() or (0,)
        assert positions > 20 and terminals == 6
    finally:
        server.drop(lost)


def test_what_a_better_decoder_reads_leaves_quarantine(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(messages, "MESSAGES", {each: MESSAGES[each] for each in MESSAGES if each != 0x0900})
        told = Told(tmp_path, dsn, 2)
    number = told.replayed()
    found = told.found(number)
    assert found["message", "missing"] >= 6 and found["quarantine", "extra"] >= 6
    assert {kind for kind, _ in found} == {"message", "quarantine"}
    unread = told.alter("UPDATE quarantine SET detail = detail WHERE reason = 'unknown_id'")
    replay.adopt(told.options, number, "test")
    assert unread - told.alter("UPDATE quarantine SET detail = detail WHERE reason = 'unknown_id'") >= 6
    assert not told.found(told.replayed())


def test_what_could_not_be_written_is_tried_again_and_else_left(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(tmp_path, dsn, 4)
    one = "SELECT min(id) FROM messages WHERE msg_id = 2304"
    told.alter(
        "INSERT INTO quarantine (received_at, terminal_id, msg_id, reason, raw, log_id, position, ordinal)"
        " SELECT received_at, terminal_id, msg_id, 'poisoned', '', log_id, position, ordinal"
        f"  FROM messages WHERE id = ({one})"
    )
    told.alter(f"DELETE FROM messages WHERE id = ({one})")
    assert told.found(told.replayed()) == {("message", "missing"): 1, ("quarantine", "extra"): 1}

    def write(places: commit.Places, found: Facts, *, bind: bool) -> bool:
        if any(each.body == b"\xf0\x00" for each in found.messages):
            raise ValueError("a bad one")
        return commit.write(places, found, bind=bind)

    monkeypatch.setattr(replay, "write", write)
    number = told.replayed()
    assert told.found(number) == {("quarantine", "changed"): 1}  # its bytes, which the test did not have
    told.alter("DELETE FROM quarantine WHERE reason = 'poisoned'")
    with pytest.raises(Unwritable, match="a bad one"):
        read(told.options, told.start())


@pytest.mark.crash
def test_a_replay_killed_again_and_again_finds_and_adopts_the_same(tmp_path: Path, dsn: str) -> None:
    told = Told(tmp_path, dsn, 13)
    original = facts(dsn)
    expected = {what: told.alter(statement) for statement, what in ALTERED.items()}
    number = told.start()
    dice = random.Random(1)
    command = [sys.executable, "-m", "tests.keeper.replaying", dsn, str(tmp_path), str(number)]
    kills = 0
    while stage(dsn, number) != "adopted":
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            # At its first sign of life, and then later and later, so that it gets somewhere on any machine.
            for _ in range(1 + 3 * kills):
                process.stdout.readline()
            time.sleep(dice.random() * 0.02 * kills)
            os.kill(process.pid, signal.SIGKILL)
        kills += 1
    assert kills > 1
    assert told.found(number) == expected
    assert facts(dsn) == original


def stage(dsn: str, number: int) -> str:
    with replay.connect(dsn) as connection:
        return shadow.about(connection, number).stage
