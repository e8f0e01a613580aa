"""Whatever breaks and however the log is cut: the facts are those of one uninterrupted pass."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.edition import Edition
from protocol.messages import encode_body
from store import schema
from store.embedded import Embedded
from store.records import CloseReason, FrameFlag
from tests.databases import Server
from tests.worker.faults import ever_later
from tests.worker.stories import FEW_STORIES, Story, begin, facts, finish, work, worker
from tests.worker.test_worker import QUICK
from worker import run
from worker.run import Worker, WorkerOptions

ACTIONS = (
    "report",
    "again",
    "late",
    "batch",
    "ahead",
    "heartbeat",
    "register",
    "garbage",
    "unknown",
    "reconnect",
)
ACTIONS += ("silent", "deregister", "restart", "several", "pieces", "flap", "forged", "stranger", "prove")
STRANGERS = ("13700000001", "13700000002")


def tell(story: Story, dice: random.Random, steps: int) -> None:
    """Write a story of four terminals in which everything happens that can happen."""
    identities = ["13912345670", "13912345671", "13912345672", "ABCDEF"]
    sessions = [
        story.open(identity, Edition.E2019 if number % 2 else Edition.E2013)
        for number, identity in enumerate(identities)
    ]
    said: list[tuple[int, bytes]] = []
    strangers = [story.open(identity, Edition.E2011) for identity in STRANGERS]
    for _ in range(steps):
        place = dice.randrange(len(sessions))
        session = sessions[place]
        alarm = dice.choice([0, 0, 1, 2, 3, 1 << 26])
        match dice.choice(ACTIONS):
            case "report":
                said.append((session, story.report(session, alarm=alarm, speed_kmh=dice.choice([0.0, 40.0]))))
                story.frames(said[-1:])
            case "again" if said:
                _, plain = dice.choice([each for each in said if each[0] in sessions] or said)
                owner = next((s for s, p in said if p == plain and s in sessions), None)
                if owner is not None:
                    story.frames([(owner, plain)])
            case "flap":
                for word in (1 << 26, 0, 2, 0) * dice.choice([1, 2, 20]):
                    story.tell(session, alarm=word)
            case "late":
                story.tell(session, ago_s=dice.choice([30, 600, 90_000]), alarm=alarm)
            case "batch":
                items = [story.body(ago_s=ago, alarm=alarm) for ago in (120, 60, 0)]
                story.say(session, 0x0704, {"type": dice.randrange(2), "items": items})
            case "ahead":
                story.tell(session, ago_s=dice.choice([-3600, -200_000]), alarm=alarm)
            case "heartbeat":
                story.say(session, 0x0002, authenticated=dice.random() < 0.9)
            case "register":
                _register(story, session, dice)
            case "garbage":
                story.reject(dice.randbytes(9), "bad_checksum", dice.choice([0, session]))
            case "unknown":
                story.say(session, 0x0F05, dice.randbytes(5))
            case "reconnect":
                sessions[place] = story.open(identities[place], story.sessions[session][1])
                story.close(session, CloseReason.TAKEN_OVER)
            case "silent":
                story.tick(dice.choice([1, 20, 45]))
            case "deregister":
                story.say(session, 0x0003)
            case "restart":
                story.started()
                sessions = [
                    story.open(identity, story.sessions[s][1])
                    for identity, s in zip(identities, sessions, strict=True)
                ]
                strangers = [story.open(identity, Edition.E2011) for identity in STRANGERS]
            case "pieces":
                report = story.body(ago_s=dice.randrange(500), alarm=alarm)
                msg_id = dice.choice([0x0200, 0x0704, 0x0201, 0x0900])
                fields = {
                    0x0200: report,
                    0x0704: {"type": 1, "items": [report]},
                    0x0201: {"ack_serial": 7, "location": report},
                }
                body = b"\xf0" + dice.randbytes(40)
                if msg_id in fields:
                    body = encode_body(msg_id, Edition.E2013, fields[msg_id])
                for number in dice.choice([(1, 2), (2, 1), (1,)]):
                    piece = body[:20] if number == 1 else body[20:]
                    story.frames([(session, story.plain(session, msg_id, piece, fragment=(2, number)))])
                    story.tick(dice.choice([0, 0, 1]))
            case "forged":
                forged = dice.choice([session, story.open(identities[place], story.sessions[session][1])])
                _doubt(story, forged, dice, FrameFlag.UNPROVEN)
                if forged != session:
                    story.close(forged)
            case "stranger":
                if dice.random() < 0.2:
                    strangers[0] = story.open(STRANGERS[0], Edition.E2011)
                _doubt(story, dice.choice(strangers), dice, FrameFlag.LOBBY)
            case "prove":
                place = dice.randrange(2)
                story.register(strangers[place], plate="辽A00003", flags=FrameFlag.LOBBY)
                story.tick(dice.choice([0, 1]))
                story.say(strangers[place], 0x0102, b"code")
                story.tell(strangers[place], alarm=1 << 15)
                strangers[place] = story.open(STRANGERS[place], Edition.E2011)
            case "several":
                story.frames([(s, story.report(s, alarm=dice.choice([0, 1, 2]))) for s in sessions * 3])
        story.tick(dice.randrange(2))
    story.tick(3)


def _doubt(story: Story, session: int, dice: random.Random, flags: FrameFlag) -> None:
    """Say something that does not count."""
    match dice.choice(["report", "heartbeat", "register", "batch", "piece", "unknown"]):
        case "report":
            story.tell(session, ago_s=dice.choice([0, 600, -295]), alarm=dice.choice([0, 1]), flags=flags)
        case "heartbeat":
            story.say(session, 0x0002, flags=flags)
        case "register":
            story.register(session, plate=dice.choice(["辽A00001", "辽A00002", ""]), flags=flags)
        case "batch":
            items = [story.body(ago_s=ago) for ago in (120, 0)]
            story.say(session, 0x0704, {"type": dice.randrange(2), "items": items}, flags=flags)
        case "piece":
            piece = story.plain(session, 0x0900, b"\xf0", fragment=(2, 1))
            story.frames([(session, piece)], flags=flags)
        case "unknown":
            story.say(session, 0x0F05, dice.randbytes(5), flags=flags)


def _register(story: Story, session: int, dice: random.Random) -> None:
    fields = {
        "province_id": 21,
        "city_id": 100,
        "manufacturer_id": "ABCDE",
        "terminal_model": "T",
        "terminal_id": "1",
        "plate_number": dice.choice(["辽A12345", "辽B54321", ""]),
        "plate_color": 2,
    }
    story.say(session, 0x0100, fields)


def one_pass(story: Story, server: Server, tmp_path: Path) -> dict[str, list[dict[str, object]]]:
    """Give the facts of one uninterrupted reading."""
    dsn = server.clone()
    try:
        work(story, dsn, tmp_path / "one-pass", policies=QUICK)
        return facts(dsn)
    finally:
        server.drop(dsn)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_connection_that_breaks_at_any_step_changes_nothing(
    tmp_path: Path, server: Server, dsn: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PATIENCE", sys.maxsize)  # it is no record's fault, however often
    story = Story(tmp_path / "log")
    tell(story, random.Random(7), 120)
    story.sync()
    expected = one_pass(story, server, tmp_path)
    broken = 0
    with worker(
        story, dsn, tmp_path / "state", policies=QUICK, batch_bytes=4000, connect=ever_later(after=after)
    ) as made:
        while True:
            try:
                finish(made)
                break
            except psycopg.Error as error:
                made._give_up(error)
                broken += 1
    assert broken > 50
    assert facts(dsn) == expected


@given(seed=st.integers(0, 2**32), cut=st.sampled_from([1, 300, 5000, 1 << 20]), restarts=st.booleans())
@example(seed=1009, cut=300, restarts=False)  # reports after a deregistration of another terminal
@settings(FEW_STORIES, max_examples=8)
def test_any_cut_into_batches_gives_the_same_facts(
    tmp_path_factory: pytest.TempPathFactory, server: Server, seed: int, cut: int, restarts: bool
) -> None:
    directory = tmp_path_factory.mktemp("cut")
    story = Story(directory / "log")
    tell(story, random.Random(seed), 60)
    story.sync()
    expected = one_pass(story, server, directory)
    dsn = server.clone()
    try:
        if restarts:
            more = True
            while more:
                with worker(
                    story, dsn, directory / "state", policies=QUICK, batch_bytes=cut + 2000, snapshot_s=1e9
                ) as made:
                    more = begin(made) and made.step()
        work(story, dsn, directory / "state", policies=QUICK, batch_bytes=cut)
        assert facts(dsn) == expected
    finally:
        server.drop(dsn)


@pytest.mark.crash
def test_a_database_killed_again_and_again_doubles_and_loses_nothing(
    tmp_path: Path, embedded_server: Server
) -> None:
    """The server of this test keeps its promises on disk, which the session's own does not."""
    directory = Path(tempfile.mkdtemp(prefix="northwatch-test-"))
    database = Embedded(directory / "database", {"shared_buffers": "32MB"})
    story = Story(tmp_path / "log")
    dice = random.Random(5)
    stop = threading.Event()
    try:
        dsn = database.start()
        with psycopg.connect(dsn, autocommit=True) as connection:
            schema.migrate(connection)
        options = WorkerOptions(policies=QUICK, batch_bytes=1000, snapshot_s=0.05, states_s=0.05)
        made = Worker(options, dsn, story.directory, tmp_path / "state")
        thread = threading.Thread(target=made.run, args=(stop,))
        thread.start()
        for _ in range(4):
            tell(story, dice, 60)
            story.sync()
            time.sleep(dice.random() * 0.3)
            database.kill()
            time.sleep(dice.random() * 0.3)
            database.start()
        while made.health()["lag_bytes"] != 0:
            time.sleep(0.05)
        stop.set()
        thread.join()
        work(story, dsn, tmp_path / "state", policies=QUICK, as_owner=True)
        assert facts(dsn) == one_pass(story, embedded_server, tmp_path)
    finally:
        stop.set()
        database.kill()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.crash
def test_a_worker_killed_again_and_again_doubles_and_loses_nothing(
    tmp_path: Path, server: Server, dsn: str
) -> None:
    story = Story(tmp_path / "log")
    dice = random.Random(3)
    command = [
        sys.executable,
        "-m",
        "tests.worker.process",
        dsn,
        str(story.directory),
        str(tmp_path / "state"),
    ]
    for _ in range(6):
        tell(story, dice, 60)
        story.sync()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(dice.random() * 0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    work(story, dsn, tmp_path / "state", policies=QUICK)
    assert facts(dsn) == one_pass(story, server, tmp_path)
