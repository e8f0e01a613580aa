"""What a worker that lost its snapshot knows of alarms: told is what has a row, and nothing else."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from alerts.bits import MAX_CHANGES
from protocol.edition import Edition
from store import claims
from store.quality import Quality
from store.records import FrameFlag
from tests.worker.stories import Story, facts, work
from worker import run

EMERGENCY, OVERSPEED = 1 << 0, 1 << 1
ALL_BUT_EMERGENCY = 0xFFFF_FFFF & ~EMERGENCY


def emergencies(dsn: str) -> list[dict[str, Any]]:
    return [each for each in facts(dsn)["alarms"] if each["condition"] == "emergency"]


def toggle(story: Story, session: int) -> None:
    """Change more alarms than are followed in a minute."""
    for number in range(MAX_CHANGES):
        story.tell(session, alarm=ALL_BUT_EMERGENCY * (number % 2), lat=30 + number / 1_000)


def forget(story: Story, state: Path, dsn: str) -> None:
    """Read all of the story, and lose the snapshot."""
    work(story, dsn, state)
    (state / "snapshot.npz").unlink()


@pytest.mark.parametrize("last", [EMERGENCY, 0])
def test_an_emergency_that_was_not_read_is_raised_without_a_snapshot(
    story: Story, state: Path, dsn: str, last: int
) -> None:
    """Whether it is still said or was said for a moment."""
    session = story.open("13912345678")
    toggle(story, session)
    for word in (EMERGENCY, last):
        story.tell(session, alarm=word, lat=31 + word)
    forget(story, state, dsn)
    assert emergencies(dsn) == []
    assert any(each["quality"] & Quality.ALARMS_UNREAD for each in facts(dsn)["positions"])
    story.tick(60)
    story.tell(session, alarm=last, lat=32)
    work(story, dsn, state)
    assert len(emergencies(dsn)) == 1
    open_now = {each["condition"] for each in facts(dsn)["alarms"] if each["ended_at"] is None}
    assert open_now >= {"emergency"} and "overspeed" not in open_now


def test_what_was_told_is_not_told_again_without_a_snapshot(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    story.tell(session, alarm=EMERGENCY | OVERSPEED)
    forget(story, state, dsn)
    before = facts(dsn)["alarm_changes"]
    story.tick(5)
    story.tell(session, alarm=EMERGENCY | OVERSPEED)
    work(story, dsn, state)
    assert facts(dsn)["alarm_changes"] == before


def test_what_a_session_claims_is_known_without_a_snapshot(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SOON_READ_BYTES", -1)
    session, ended = story.open("13912345678", Edition.E2011), story.open("13912345679")
    for each in (session, ended):
        story.register(each, flags=FrameFlag.LOBBY, terminal_model="B", terminal_id="7")
    story.close(ended)
    forget(story, state, dsn)
    story.tick()
    story.say(session, 0x0102, b"1", authenticated=True)
    work(story, dsn, state)
    found = {each["identity"]: each for each in facts(dsn)["terminals"]}
    registered, other = found["13912345678"], found["13912345679"]
    assert (registered["registered_plate"], registered["edition"]) == ("辽A00001", "2011")
    assert other["registered_plate"] is None


def test_a_claim_of_a_session_that_has_ended_is_not_waited_for(story: Story, state: Path, dsn: str) -> None:
    session, ended = story.open("13912345678"), story.open("13912345679")
    for each in (session, ended):
        story.register(each, flags=FrameFlag.LOBBY)
    story.close(ended)
    work(story, dsn, state)
    with psycopg.connect(dsn) as connection:
        assert [number for _, number, _ in claims.waiting(connection)] == [session]
