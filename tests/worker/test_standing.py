"""Who has not proved who it is changes nothing of who has."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from protocol.edition import Edition
from store.records import CloseReason, FrameFlag
from tests.worker.stories import BEGIN, Story, facts, work
from tests.worker.test_fragments import picture, pieces
from tests.worker.test_worker import MOVING, QUICK, one
from worker.reading import REGISTRATIONS

VICTIM, NEIGHBOUR = "13912345678", "13912345679"
OVERSPEED, EMERGENCY = 2, 1


def of(rows: list[dict[str, Any]], identity: str = VICTIM) -> dict[str, Any]:
    return one([row for row in rows if row["identity"] == identity])


def test_a_forged_report_hides_no_alarm(story: Story, state: Path, dsn: str) -> None:
    session = story.open(VICTIM)
    story.tell(session, lat=41.5, **MOVING)
    forged = story.open(VICTIM)
    story.tell(forged, ago_s=-295, lat=5.0, alarm=EMERGENCY, flags=FrameFlag.UNPROVEN)
    story.tick()
    story.tell(session, lat=41.6, alarm=OVERSPEED, **MOVING)
    work(story, dsn, state)
    found = facts(dsn)
    alarm = one(found["alarms"])
    assert (alarm["condition"], alarm["late"], alarm["on_desk"]) == ("overspeed", False, True)
    assert [row["late"] for row in found["positions"]] == [False, False]
    assert (of(found["terminal_states"])["lat"], of(found["terminal_states"])["without_code"]) == (41.6, 1)
    kept = one(found["quarantine"])
    assert (kept["identity"], kept["reason"], kept["msg_id"]) == (VICTIM, "without_code", 0x0200)


def test_a_forged_link_is_not_the_terminals(story: Story, state: Path, dsn: str) -> None:
    session = story.open(VICTIM)
    story.tell(session, **MOVING)
    story.tick()
    forged = story.open(VICTIM)
    story.tell(forged, flags=FrameFlag.UNPROVEN)
    story.close(forged)
    work(story, dsn, state)
    linked = of(facts(dsn)["terminal_states"])
    assert (linked["link"], linked["link_changed_at"]) == ("open", BEGIN)
    story.close(session)
    work(story, dsn, state)
    assert of(facts(dsn)["terminal_states"])["link"] == "closed"


def test_a_session_that_ends_at_once_leaves_no_link(story: Story, state: Path, dsn: str) -> None:
    story.tell(story.open(VICTIM))
    story.tick()
    short = story.open(VICTIM)
    story.tell(short)
    story.close(short, CloseReason.ERROR)
    work(story, dsn, state)
    assert of(facts(dsn)["terminal_states"])["link"] == "closed"


def test_a_forged_heartbeat_keeps_no_dead_terminal_alive(story: Story, state: Path, dsn: str) -> None:
    dead, alive = story.open(VICTIM), story.open(NEIGHBOUR)
    story.tell(dead, **MOVING)
    forged = story.open(VICTIM)
    for second in range(60):
        story.tick()
        if second % 10 == 0:
            story.say(forged, 0x0002, flags=FrameFlag.UNPROVEN)
            story.say(forged, 0x0003, flags=FrameFlag.UNPROVEN)
            story.tell(alive, **MOVING)
    work(story, dsn, state, policies=QUICK)
    found = facts(dsn)
    assert one(found["tickets"])["identity"] == VICTIM
    assert of(found["terminal_states"])["silent_since"] == BEGIN
    assert of(found["terminal_states"])["last_received_at"] == BEGIN
    assert not found["quarantine"], "there is nothing in it to keep"


def test_a_stranger_is_an_entry_of_the_lobby_and_nothing_else(story: Story, state: Path, dsn: str) -> None:
    stranger, other = story.open(VICTIM), story.open(NEIGHBOUR)
    story.register(stranger, flags=FrameFlag.LOBBY)
    story.tell(stranger, lat=41.5, flags=FrameFlag.LOBBY, **MOVING)
    story.tick(2)
    story.tell(stranger, lat=41.6, alarm=EMERGENCY, flags=FrameFlag.LOBBY, **MOVING)
    story.tell(other, **MOVING)
    uploaded = [(stranger, each) for each in pieces(story, stranger, 0x0801, picture(5))]
    story.frames(uploaded, flags=FrameFlag.LOBBY)
    story.say(stranger, 0x0900, b"\xf0", flags=FrameFlag.LOBBY)
    story.frames([(stranger, story.plain(stranger, 0x0200, b"short"))], flags=FrameFlag.LOBBY)
    for _ in range(10):
        story.tick(10)
        story.tell(other, **MOVING)
    work(story, dsn, state, policies=QUICK)
    found = facts(dsn)
    for nothing in ("alarms", "tickets", "installations", "messages", "media"):
        assert not found[nothing], nothing
    said = [row for row in found["positions"] if row["identity"] == VICTIM]
    assert sorted(row["lat"] for row in said) == [41.5, 41.6]
    assert not any(row["authenticated"] or row["late"] for row in said)
    latest = of(found["terminal_states"])
    assert (latest["lat"], latest["alarm_bits"], latest["mode"]) == (41.6, EMERGENCY, "unknown")
    assert (latest["without_code"], latest["silent_since"]) == (0, None)
    reasons = sorted(row["reason"] for row in found["quarantine"])
    assert reasons == ["short_body", *["without_code"] * (len(uploaded) + 1)]
    terminal, claim = of(found["terminals"]), of(found["claims"])
    assert (terminal["registered_plate"], terminal["authenticated_at"]) == (None, None)
    assert (claim["plate"], claim["model"], claim["received_at"]) == ("辽A00001", "BD-1", BEGIN)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM vehicles").fetchone() == (0,)


def test_what_a_session_claims_is_said_when_it_authenticates(story: Story, state: Path, dsn: str) -> None:
    old = story.open(VICTIM, Edition.E2011)
    said = {"terminal_model": "B", "terminal_id": "7"}
    story.register(old, flags=FrameFlag.LOBBY, **said)
    forged = story.open(VICTIM)
    story.register(forged, plate="辽B99999", flags=FrameFlag.LOBBY)
    story.tick()
    story.say(old, 0x0102, b"1", authenticated=True)
    story.tell(old, alarm=1 << 15)
    work(story, dsn, state)
    found = facts(dsn)
    terminal = of(found["terminals"])
    assert (terminal["registered_plate"], terminal["model"], terminal["edition"]) == ("辽A00001", "B", "2011")
    assert terminal["registered_at"] == BEGIN + timedelta(seconds=1)
    assert one(found["installations"])["plate"] == "辽A00001"
    assert of(found["claims"])["plate"] == "辽B99999"
    assert of(found["terminal_states"])["link"] == "open"
    story.close(forged)
    work(story, dsn, state)
    assert of(facts(dsn)["terminal_states"])["link"] == "open"


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("speaks_late", [False, True])
@pytest.mark.parametrize("proves_late", [False, True])
def test_a_session_that_goes_on_under_a_new_number_claims_what_it_did(
    story: Story, state: Path, dsn: str, is_cut: bool, speaks_late: bool, proves_late: bool
) -> None:
    """Whatever of it is said before the older number is closed, and wherever the log is cut."""

    def cut() -> None:
        if is_cut:
            work(story, dsn, state)

    session, forged = story.open(VICTIM), story.open(VICTIM)
    if not speaks_late:
        story.register(session, flags=FrameFlag.LOBBY)
    story.close(forged)
    cut()
    renewed = story.open(VICTIM, link=session)
    cut()
    if speaks_late:
        story.register(session, flags=FrameFlag.LOBBY)
        cut()
    if not proves_late:
        story.say(renewed, 0x0102, b"1", authenticated=True)
        cut()
    story.close(session, CloseReason.RENEWED)
    cut()
    if proves_late:
        story.say(renewed, 0x0102, b"1", authenticated=True)
    work(story, dsn, state)
    found = facts(dsn)
    assert (of(found["terminals"])["registered_plate"], found["claims"]) == ("辽A00001", [])


@pytest.mark.parametrize("is_cut", [False, True])
def test_what_a_session_claimed_that_has_ended_is_not_said_by_the_next_on_its_link(
    story: Story, state: Path, dsn: str, is_cut: bool
) -> None:
    session = story.open(VICTIM)
    story.register(session, flags=FrameFlag.LOBBY)
    story.close(session, CloseReason.DEREGISTERED)
    if is_cut:
        work(story, dsn, state)
    story.say(story.open(VICTIM, link=session), 0x0102, b"1", authenticated=True)
    work(story, dsn, state)
    assert of(facts(dsn)["terminals"])["registered_plate"] is None


@pytest.mark.parametrize("cut", [300, 1 << 20])
def test_forged_registrations_use_up_nothing_of_the_terminals(
    story: Story, state: Path, dsn: str, cut: int
) -> None:
    """Neither what it may claim, nor what it may register."""
    forged, session = story.open(VICTIM), story.open(VICTIM)
    for number in range(10):
        story.register(forged, plate=f"辽B0000{number}", flags=FrameFlag.LOBBY)
    story.register(session, flags=FrameFlag.LOBBY)
    story.say(session, 0x0102, b"1", authenticated=True)
    for number in range(10):
        story.register(forged, plate=f"辽C0000{number}", flags=FrameFlag.UNPROVEN)
    story.tick()
    work(story, dsn, state, batch_bytes=cut)
    assert of(facts(dsn)["terminals"])["registered_plate"] == "辽A00001"
    story.register(session, plate="辽A00002", flags=FrameFlag.AUTHENTICATED)
    work(story, dsn, state, batch_bytes=cut)
    assert of(facts(dsn)["terminals"])["registered_plate"] == "辽A00002"
    with psycopg.connect(dsn) as connection:
        counted = connection.execute("SELECT sum(things) FROM quarantine_counts WHERE reason = 'too_many'")
        assert counted.fetchall() == [(20 - REGISTRATIONS.each,)]


def test_who_has_authenticated_is_no_stranger_whatever_a_gateway_knows(
    story: Story, state: Path, dsn: str
) -> None:
    session, late = story.open(VICTIM), story.open(VICTIM)
    story.tell(late, lat=10.0, flags=FrameFlag.LOBBY)
    story.frames([(session, story.report(session, lat=41.5)), (late, story.report(late, lat=41.6))])
    story.tell(late, lat=20.0, flags=FrameFlag.LOBBY)
    work(story, dsn, state)
    found = facts(dsn)
    assert sorted(row["lat"] for row in found["positions"]) == [10.0, 41.5, 41.6]
    assert one(found["quarantine"])["reason"] == "without_code"
    assert (of(found["terminal_states"])["lat"], of(found["terminal_states"])["without_code"]) == (41.6, 1)


def test_a_flood_without_a_code_is_counted(story: Story, state: Path, dsn: str) -> None:
    session = story.open(VICTIM)
    story.tell(session)
    forged = [(session, story.report(session)) for _ in range(400)]
    for _ in range(4):
        story.tick()
        story.frames(forged, flags=FrameFlag.UNPROVEN)
    work(story, dsn, state)
    assert of(facts(dsn)["terminal_states"])["without_code"] == 1600
    with psycopg.connect(dsn) as connection:
        counted = connection.execute(
            "SELECT reason, sum(things), sum(kept) FROM quarantine_counts GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert counted == [("too_many", 1500, 0), ("without_code", 100, 100)]


def test_a_stranger_that_authenticates_raises_what_holds(story: Story, state: Path, dsn: str) -> None:
    session = story.open(VICTIM)
    story.tell(session, ago_s=-200, alarm=EMERGENCY, flags=FrameFlag.LOBBY)
    work(story, dsn, state)
    assert not facts(dsn)["alarms"]
    (state / "snapshot.npz").unlink()
    story.tick()
    story.tell(session, alarm=EMERGENCY)
    work(story, dsn, state)
    assert one(facts(dsn)["alarms"])["on_desk"]
