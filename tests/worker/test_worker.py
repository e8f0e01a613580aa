"""The worker on a real log and a real database: what a story means, as facts."""

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql

from protocol.edition import Edition
from protocol.messages import encode_body
from store import decisions
from store.fleet import LIVE_CHANNEL
from store.quality import Quality
from store.records import Cloned, CloseReason
from store.times import from_us
from tests.worker.stories import BEGIN, Story, begin, facts, finish, work, worker
from tickets.policy import TicketPolicy
from tickets.silence import SilencePolicy
from worker import run
from worker.decided import Policies
from worker.run import Worker, WorkerOptions

MOVING = {"speed_kmh": 36.0}
QUICK = Policies(
    SilencePolicy(moving_s=30, parked_s=60, asleep_s=120),
    TicketPolicy(dwell_s=10, mass_least=4, mass_window_s=20, proof_reports=2, proof_s=60),
)


def one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(rows) == 1
    return rows[0]


def test_a_report_becomes_a_position(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    story.tell(session, lat=41.9, lon=-123.5, altitude_m=65535, direction_deg=359, extras=[], **MOVING)
    work(story, dsn, state)
    row = one(facts(dsn)["positions"])
    assert (row["identity"], row["lat"], row["lon"]) == ("13912345678", 41.9, -123.5)
    assert (row["altitude_m"], row["heading_deg"], row["speed_kmh"]) == (65535, 359, 36.0)
    assert row["reported_at"] == row["placed_at"] == row["received_at"] == BEGIN
    assert row["authenticated"] and not row["late"] and row["copies"] == 1
    assert row["quality"] == Quality.OUT_OF_RANGE


def test_the_latest_state_follows(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    story.tell(session, lat=41.9, **MOVING)
    story.tick(5)
    story.tell(session, fix=False, acc=False)
    story.tick()
    story.say(session, 0x0002)
    work(story, dsn, state)
    row = one(facts(dsn)["terminal_states"])
    assert (row["link"], row["mode"]) == ("open", "parked")
    assert (row["lat"], row["fix_at"]) == (41.9, BEGIN)
    assert row["reported_at"] == BEGIN + timedelta(seconds=5)
    assert row["last_received_at"] == BEGIN + timedelta(seconds=6)


def test_a_retransmission_is_counted(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    body = story.body()
    for seconds in (0, 10, 200):
        story.tick(seconds)
        story.say(session, 0x0200, body)
    work(story, dsn, state, batch_bytes=64)
    row = one(facts(dsn)["positions"])
    assert row["copies"] == 3
    assert row["last_received_at"] - row["received_at"] == timedelta(seconds=210)
    assert not row["late"]


def test_late_reports_are_stored_and_move_nothing(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    story.tell(session, lat=41.5)
    backfill = [story.body(ago_s=ago, lat=41.0) for ago in (3600, 60)]
    story.tick(60)
    story.say(session, 0x0704, {"type": 1, "items": backfill})
    story.tell(session, ago_s=61, lat=41.1)
    story.tell(session, lat=41.6)
    work(story, dsn, state)
    found = facts(dsn)
    assert {(row["lat"], row["late"]) for row in found["positions"]} == {
        (41.0, True),
        (41.1, True),
        (41.5, False),
        (41.6, False),
    }
    assert one(found["terminal_states"])["lat"] == 41.6


def test_a_clock_ahead_makes_no_honest_report_late(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    story.tell(session, ago_s=-3600)
    story.tick()
    story.tell(session)
    work(story, dsn, state)
    ahead, honest = sorted(facts(dsn)["positions"], key=lambda row: row["received_at"])
    assert ahead["quality"] == Quality.CLOCK_IMPLAUSIBLE and not honest["late"]
    assert one(facts(dsn)["terminal_states"])["reported_at"] == honest["reported_at"]


def test_a_slow_database_is_given_less_at_a_time(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And more again when it is quick; what it holds in the end does not depend on it."""
    session = story.open("13912345678")
    for _ in range(500):
        story.tick()
        story.tell(session)
    story.sync()
    monkeypatch.setattr(run, "LEAST_BYTES", 1000)
    sizes = [0]
    with worker(story, dsn, state, batch_bytes=8000) as made:
        for longest_s in (1e-9, 1e9):
            monkeypatch.setattr(run, "LONGEST_S", longest_s)
            for _ in range(6):
                assert begin(made)
                sizes.append(made.health()["cursor"] - sum(sizes))
        finish(made)
    first, *slow = sizes[1:7]
    assert max(slow) < first / 4, "as soon as one has taken too long"
    assert sizes[-1] > first / 2
    assert len(facts(dsn)["positions"]) == 500


def test_a_worker_begins_with_little_after_a_start(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was too much for the database is not tried again as a whole."""
    monkeypatch.setattr(run, "FIRST_BYTES", 1000)
    monkeypatch.setattr(run, "LEAST_BYTES", 500)
    monkeypatch.setattr(run, "LONGEST_S", 1e9)
    session = story.open("13912345678")
    for _ in range(300):
        story.tick()
        story.tell(session)
    story.sync()
    sizes = [0]
    with worker(story, dsn, state, batch_bytes=16000) as made:
        for _ in range(4):
            assert begin(made)
            sizes.append(made.health()["cursor"] - sum(sizes))
        assert sizes[1] < 2000 and sizes[4] > 5000
    with worker(story, dsn, state, batch_bytes=16000) as made:
        before = made.health()["cursor"] or sum(sizes)
        assert begin(made)
        assert made.health()["cursor"] - before < 2000


def test_health_knows_after_a_start_how_old_the_facts_are(story: Story, state: Path, dsn: str) -> None:
    """Also before the first batch, however long that takes."""
    session = story.open("13912345678")
    story.tell(session)
    work(story, dsn, state)
    committed = from_us(story.now_us)
    story.tick()
    story.sync()
    with psycopg.connect(dsn, autocommit=True) as connection, worker(story, dsn, state) as made:
        name = sql.Identifier(connection.info.dbname)
        alter = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
        connection.execute(alter.format(name, sql.Literal("on")))
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            begin(made)
        said = made.health()
        assert said["lag_bytes"] > 0 and said["lag_s"] > 0
        assert said["log_time"] == committed.isoformat()
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(alter.format(name, sql.Literal("off")))


def test_one_condition_is_one_alarm(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    for alarm in (0, 1, 1, 2, 2, 3, 0):
        story.tick()
        story.tell(session, alarm=alarm)
    work(story, dsn, state, batch_bytes=200)
    found = {row["condition"]: row for row in facts(dsn)["alarms"]}
    assert found["emergency"]["ended_at"] is None and found["emergency"]["reports"] >= 2
    assert found["overspeed"]["ended_at"] - found["overspeed"]["began_at"] == timedelta(seconds=3)
    assert found["overspeed"]["ends"] == "by_terminal" and found["emergency"]["severity"] == 1
    assert found["overspeed"]["lat"] == 41.8


def test_bits_are_read_by_the_edition(story: Story, state: Path, dsn: str) -> None:
    old, new = story.open("13912345678"), story.open("13912345679", Edition.E2019)
    for session in (old, new):
        story.tell(session, alarm=1 << 3)
    work(story, dsn, state)
    assert {(row["identity"], row["condition"]) for row in facts(dsn)["alarms"]} == {
        ("13912345678", "danger_warning"),
        ("13912345679", "dangerous_driving"),
    }
    assert {(row["identity"], row["edition"]) for row in facts(dsn)["terminals"]} == {
        ("13912345678", "2013"),
        ("13912345679", "2019"),
    }


def test_what_cannot_be_used_is_in_quarantine(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    story.reject(b"\x7e\x01\x02\x7e", session=session)
    story.reject(b"garbage", "garbage")
    frames = {
        "unknown_id": story.plain(session, 0x0F01, b"\0abc"),
        "short_body": story.plain(session, 0x0200, b"\1\2\3"),
        "undecodable_body": story.plain(session, 0x0001, b"\1"),
        "encrypted_body": story.plain(session, 0x0200, bytes(28), attributes=1 << 10),
        "fragment": story.plain(session, 0x0102, b"part", fragment=(2, 3)),
        "bad_header": story.plain(session, 0x0002) + b"\0",
    }
    story.frames([(session, frame) for frame in frames.values()])
    story.tell(session)
    work(story, dsn, state)
    found = facts(dsn)
    kept = {row["reason"]: row["raw"] for row in found["quarantine"]}
    assert kept == frames | {"bad_checksum": b"\x7e\x01\x02\x7e", "garbage": b"garbage"}
    assert len(found["positions"]) == 1


def test_a_batch_in_pieces_is_put_together(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    items = [story.body(ago_s=ago) for ago in range(40, 0, -1)]
    body = encode_body(0x0704, Edition.E2013, {"type": 1, "items": items})
    pieces = [body[at : at + 500] for at in range(0, len(body), 500)]
    frames = [
        story.plain(session, 0x0704, piece, fragment=(len(pieces), number))
        for number, piece in enumerate(pieces, 1)
    ]
    for frame in (frames[1], frames[0], frames[1]):
        story.frames([(session, frame)])
        story.tick()
    work(story, dsn, state)
    story.frames([(session, frame) for frame in frames[2:]])
    story.frames([(session, frames[0])])
    story.tick(700)
    work(story, dsn, state)
    found = facts(dsn)
    assert len(found["positions"]) == 40 and all(row["late"] for row in found["positions"])
    assert found["quarantine"] == []


def test_a_batch_that_stays_incomplete_is_in_quarantine(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    frames = [story.plain(session, 0x0704, bytes(100), fragment=(3, number)) for number in (1, 2, 3)]
    story.frames([(session, frame) for frame in frames[:2]])
    nonsense = story.plain(session, 0x0704, bytes(100), fragment=(2, 3))
    story.frames([(session, nonsense)])
    story.tick(300)
    work(story, dsn, state)
    assert {row["raw"] for row in facts(dsn)["quarantine"]} == {nonsense}
    story.tick(301)
    work(story, dsn, state)
    kept = {row["raw"]: row["reason"] for row in facts(dsn)["quarantine"]}
    assert kept == dict.fromkeys(frames[:2], "fragments_missing") | {nonsense: "fragment"}


def test_a_registration_fills_terminal_and_vehicle(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    said = {
        "province_id": 21,
        "city_id": 100,
        "manufacturer_id": "ABCDE",
        "terminal_model": "T1",
        "terminal_id": "7654321",
    }
    for plate, color in (("辽A·12345", 2), ("辽B99999", 2), ("LVIN1234567890", 0)):
        story.say(session, 0x0100, {**said, "plate_number": plate, "plate_color": color})
        story.tick()
    other = story.open("13912345679")
    story.say(other, 0x0100, {**said, "plate_number": "辽A12345", "plate_color": 2})
    story.tell(session, alarm=2)
    work(story, dsn, state)
    found = facts(dsn)
    first, second = sorted(found["terminals"], key=lambda row: row["identity"])
    assert first["registered_plate"] == "LVIN1234567890" and second["registered_plate"] == "辽A12345"
    bound = one(found["installations"])
    assert (bound["identity"], bound["plate"], bound["installed_at"]) == ("13912345678", "辽A12345", BEGIN)
    assert one(found["alarms"])["plate"] == "辽A12345"


def test_a_plate_with_other_letters_is_kept_as_said_and_makes_no_vehicle(
    story: Story, state: Path, dsn: str
) -> None:
    said = {"province_id": 0, "city_id": 0, "manufacturer_id": "\x1b[2J", "terminal_model": "M\u2028"}
    plates = ("[/]", "\x1b[2Jevil", "辽A\u202e12345", "辽A\u200b12345", "<b>", "=1+1")
    for number, plate in enumerate(plates):
        session = story.open(f"139123456{number:02}")
        story.say(session, 0x0100, {**said, "terminal_id": "7", "plate_number": plate, "plate_color": 2})
    work(story, dsn, state)
    found = facts(dsn)
    kept = [row["registered_plate"] for row in sorted(found["terminals"], key=lambda row: row["identity"])]
    assert kept == ["[/]", "[2Jevil", "辽A12345", "辽A12345", "<b>", "=1+1"]
    assert not found["installations"]


def test_an_older_session_changes_nothing(story: Story, state: Path, dsn: str) -> None:
    first = story.open("13912345678")
    story.tick()
    story.open("13912345678")
    story.close(first, CloseReason.TAKEN_OVER)
    work(story, dsn, state)
    found = facts(dsn)
    assert one(found["terminal_states"])["link"] == "open"
    assert sorted(row["event"] for row in found["link_events"]) == ["opened", "opened", "taken_over"]


def test_clones_are_flagged(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    for minute in range(3):
        story.tick(60)
        story.event(Cloned(session, ("192.0.2.1:1", "192.0.2.2:2"), (10 * minute, minute), 3))
    story.event(Cloned(99, ("", ""), (0, 0), 0))
    work(story, dsn, state)
    with psycopg.connect(dsn) as connection:
        query = "SELECT last_seen_at - began_at, peers, frames, take_overs FROM clones"
        assert connection.execute(query).fetchall() == [
            (timedelta(minutes=2), ["192.0.2.1:1", "192.0.2.2:2"], [20, 2], 3)
        ]


@pytest.mark.parametrize("is_clean", [True, False])
def test_a_restart_of_the_gateway_opens_no_ticket(
    story: Story, state: Path, dsn: str, is_clean: bool
) -> None:
    """After a stop that closes link by link, or none at all, however long it lasted."""
    sessions = {f"1391234567{number}": story.open(f"1391234567{number}") for number in range(3)}
    for _ in range(10):
        story.tick()
        for session in sessions.values():
            story.tell(session, **MOVING)
    if is_clean:
        for session in sessions.values():
            story.close(session, CloseReason.STOPPING)
            story.tick()
    story.now_us += 300_000_000
    story.started()
    for second in range(60):
        story.tick()
        for number, identity in enumerate(sessions):
            if second == 5 * number + 5:
                sessions[identity] = story.open(identity)
            if second > 5 * number + 5:
                story.tell(sessions[identity], **MOVING)
    work(story, dsn, state, policies=QUICK)
    found = facts(dsn)
    assert not found["tickets"] and not found["incidents"]
    assert {row["silent_since"] for row in found["terminal_states"]} == {None}
    assert {row["link"] for row in found["terminal_states"]} == {"open"}
    ended = {row["event"] for row in found["link_events"]} - {"opened"}
    assert ended == {"stopping" if is_clean else "gateway_restarted"}


def test_a_new_gateway_ends_the_sessions_of_the_old_one(story: Story, state: Path, dsn: str) -> None:
    story.open("13912345678")
    story.tick()
    story.started()
    work(story, dsn, state)
    found = facts(dsn)
    assert one(found["terminal_states"])["link"] == "closed"
    assert {row["event"] for row in found["link_events"]} == {"opened", "gateway_restarted"}


def test_silence_becomes_a_ticket_and_proof_closes_it(story: Story, state: Path, dsn: str) -> None:
    silent, talking = story.open("13912345678"), story.open("13912345679")
    for _ in range(60):
        story.tick()
        story.tell(talking, **MOVING)
        if story.now_us < 1e6 * (BEGIN.timestamp() + 5):
            story.tell(silent, alarm=1 << 8, **MOVING)
    work(story, dsn, state, policies=QUICK)
    found = facts(dsn)
    ticket = one(found["tickets"])
    assert (ticket["identity"], ticket["fault"], ticket["state"]) == ("13912345678", "silent", "open")
    assert "Its main power was low or lost before" in ticket["reason"]
    evidence = ticket["evidence"]
    assert evidence["last_fix"]["lat"] == 41.8 and evidence["mode"] == "moving"
    assert evidence["last_report"]["alarms"] == ["power_lost"]
    assert [frame["msg_id"] for frame in evidence["last_frames"]] == ["0x0200"] * 3
    assert [link["event"] for link in evidence["links"]] == ["opened"]
    states = {row["identity"]: row["silent_since"] for row in found["terminal_states"]}
    assert states == {"13912345678": BEGIN + timedelta(seconds=4), "13912345679": None}

    for _ in range(3):
        story.tell(silent, **MOVING)
        story.tick()
    work(story, dsn, state, policies=QUICK)
    found = facts(dsn)
    ticket = one(found["tickets"])
    assert ticket["state"] == "closed" and "reports again" in ticket["closed_because"]
    assert sorted(row["change"] for row in found["ticket_changes"]) == ["closed", "opened"]
    assert {row["silent_since"] for row in found["terminal_states"]} == {None}


def test_many_silent_terminals_are_one_incident(story: Story, state: Path, dsn: str) -> None:
    sessions = [story.open(f"1391234500{n}") for n in range(6)]
    story.frames([(session, story.report(session, **MOVING)) for session in sessions])
    story.tick(80)
    work(story, dsn, state, policies=QUICK)
    found = facts(dsn)
    assert found["tickets"] == []
    assert one(found["incidents"])["terminals"] == 6


def test_the_log_goes_only_behind_cursor_and_snapshot(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    story.tell(session)
    with worker(story, dsn, state, snapshot_s=1e9) as made:
        story.sync()
        finish(made)
        health = made.health()
        assert health["snapshot"] < health["cursor"] == story.writer.durable
    with worker(story, dsn, state) as made:
        made.step()
        assert made.health()["snapshot"] == made.health()["cursor"] == story.writer.durable
        assert made.health()["ok"] and made.health()["lag_bytes"] == 0


def test_viewers_are_told_when_something_happens(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    with psycopg.connect(dsn, autocommit=True) as listening:
        listening.execute(f"LISTEN {LIVE_CHANNEL}")
        story.tell(session, alarm=1)
        work(story, dsn, state)
        assert [each.payload for each in listening.notifies(timeout=300, stop_after=1)] == ["facts"]


def test_a_worker_without_log_or_database_waits_and_says_why(story: Story, state: Path, dsn: str) -> None:
    stop = threading.Event()
    story.sync()
    nowhere = conninfo.make_conninfo(dsn, dbname="nowhere")
    for made, why in (
        (Worker(WorkerOptions(), dsn, state / "no-log", state), "LogError"),
        (Worker(WorkerOptions(), nowhere, story.directory, state), "nowhere"),
    ):
        thread = threading.Thread(target=made.run, args=(stop,))
        thread.start()
        while made.health()["ok"]:
            time.sleep(0.01)
        assert why in made.health()["error"]
        stop.set()
        thread.join()
        stop.clear()


def test_a_worker_that_stands_says_so(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has something to read and does nothing, whatever it is doing."""
    story.open("13912345678")
    story.sync()
    with worker(story, dsn, state) as made:
        finish(made)
        monkeypatch.setattr(run, "STANDS_S", 0.0)
        assert made.health()["ok"], "there is nothing to read"
        story.tick()
        story.sync()
        while not (said := made.health())["stands_s"]:
            pass  # it is told in milliseconds, and the first has not passed yet
        assert not said["ok"] and "no batch" in said["error"]
        finish(made)
        said = made.health()
        assert said["ok"] and said["stands_s"] == 0 and not said["error"]


def test_only_one_worker_reads_a_log(story: Story, state: Path, dsn: str) -> None:
    story.open("13912345678")
    story.sync()
    with worker(story, dsn, state) as first, worker(story, dsn, state) as second:
        finish(first)
        with pytest.raises(psycopg.OperationalError, match="another worker"):
            second.step()


def test_who_may_not_read_a_log_changes_no_settings(story: Story, state: Path, dsn: str) -> None:
    story.open("13912345678")
    story.sync()
    other = {"silence.moving_s": 5.0}
    with worker(story, dsn, state) as first, worker(story, dsn, state, configured=other) as second:
        finish(first)
        with pytest.raises(psycopg.OperationalError, match="another worker"):
            second.step()
    with psycopg.connect(dsn) as connection:
        assert decisions.newest(connection) == 0


def test_a_lost_snapshot_is_made_good_from_the_database(story: Story, state: Path, dsn: str) -> None:
    silent, talking = story.open("13912345678"), story.open("13912345679")
    story.tell(silent, alarm=2, **MOVING)
    for _ in range(50):
        story.tick()
        story.tell(talking, alarm=1, **MOVING)
    work(story, dsn, state, policies=QUICK)
    (state / "snapshot.npz").write_bytes(b"damaged")
    story.tick()
    story.tell(silent, ago_s=3600, lat=41.0)
    for _ in range(3):
        story.tell(silent, alarm=2, **MOVING)
        story.tell(talking, alarm=1, **MOVING)
        story.tick()
    for alarm in (0, 2, 0):  # it flaps, and is one alarm all the same
        story.tell(silent, alarm=alarm, **MOVING)
    work(story, dsn, state, policies=QUICK)
    found = facts(dsn)
    assert found["quarantine"] == []
    assert len(found["alarms"]) == 2
    assert one(found["tickets"])["state"] == "closed"
    assert {(row["condition"], row["ended_at"] is None) for row in found["alarms"]} == {
        ("overspeed", False),
        ("emergency", True),
    }
    assert [row["late"] for row in found["positions"] if row["lat"] == 41.0] == [True]


def test_a_frame_that_cannot_be_written_goes_to_quarantine_alone(story: Story, state: Path, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE position_records ADD CHECK (speed < 2000)")
    session = story.open("13912345678")
    poison = story.report(session, ago_s=3, speed_kmh=250.0)
    for _ in range(3):
        story.frames([(session, story.report(session, ago_s=ago)) for ago in (9, 8, 7)])
        story.tick(10)
    story.frames(
        [
            (session, story.report(session, ago_s=4)),
            (session, poison),
            (session, story.report(session, ago_s=2)),
        ]
    )
    story.tick(10)
    story.tell(session)
    work(story, dsn, state)
    found = facts(dsn)
    assert len(found["positions"]) == 12
    assert (one(found["quarantine"])["reason"], one(found["quarantine"])["raw"]) == ("poisoned", poison)


def test_a_record_that_cannot_be_read_is_skipped_and_stays_skipped(
    story: Story, state: Path, dsn: str
) -> None:
    session = story.open("13912345678")
    story.tell(session)
    story.reject(b"\0" * 5, "reason\0with zero")
    story.tell(session, ago_s=1)
    work(story, dsn, state, snapshot_s=1e9)
    story.tell(session, ago_s=2)
    work(story, dsn, state)
    found = facts(dsn)
    assert len(found["positions"]) == 3
    assert one(found["quarantine"])["ordinal"] == -1


def test_an_emergency_comes_back_at_the_start_of_a_late_one_that_was_handled(
    story: Story, state: Path, dsn: str
) -> None:
    emergency = 1 << 26
    session = story.open("13912345678")
    story.tell(session, alarm=emergency)
    story.tick(10)
    story.tell(session, alarm=0)
    story.tick(20)
    work(story, dsn, state)
    _handle_all(dsn)
    stored = [story.body(alarm=emergency), story.body(ago_s=-2, alarm=0)]
    live = story.report(session, alarm=emergency, lat=41.9)
    story.say(session, 0x0704, encode_body(0x0704, Edition.E2013, {"type": 1, "items": stored}))
    story.tick(3)
    work(story, dsn, state)
    _handle_all(dsn)
    story.frames([(session, live)])
    story.tick(1)
    work(story, dsn, state)
    found = facts(dsn)
    assert not found["quarantine"]
    told = sorted((each["late"], each["ended_at"] is None) for each in found["alarms"])
    assert told == [(False, False), (False, True)]


def _handle_all(dsn: str) -> None:
    with psycopg.connect(dsn) as database:
        database.execute("UPDATE alarms SET handled_at = now(), result = 'other' WHERE handled_at IS NULL")
