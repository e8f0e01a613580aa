"""Who is forgotten is as if never heard, and what it said stays."""

from pathlib import Path

import psycopg
import pytest

from store import decisions
from store.records import Decided, FrameFlag
from tests.worker.stories import BEGIN, Story, facts, work
from tests.worker.test_standing import EMERGENCY, NEIGHBOUR, VICTIM, of
from tests.worker.test_worker import MOVING, QUICK, one


def forget(dsn: str, identity: str = VICTIM) -> int:
    """Do as a person does, and give the version that says so."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "SELECT forget('anna', ARRAY(SELECT id FROM terminals WHERE identity = %s))", [identity]
        )
        return decisions.newest(connection)


def is_forgotten(dsn: str, identity: str = VICTIM) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT forgotten FROM terminals WHERE identity = %s", [identity]).fetchone()
    assert row is not None
    return bool(row[0])


@pytest.mark.parametrize("cut", [1, 1 << 20])
@pytest.mark.parametrize("lost", [False, True], ids=["", "snapshot lost"])
def test_who_is_forgotten_begins_anew(story: Story, state: Path, dsn: str, cut: int, lost: bool) -> None:
    session, other = story.open(VICTIM), story.open(NEIGHBOUR)
    story.register(session)
    story.tell(session, lat=41.5, alarm=EMERGENCY, **MOVING)
    for _ in range(6):
        story.tick(10)
        story.tell(other, **MOVING)
    work(story, dsn, state, policies=QUICK, batch_bytes=cut)
    assert one(facts(dsn)["tickets"])["state"] == "open"
    story.event(Decided(forget(dsn)))
    story.tick(100)
    work(story, dsn, state, policies=QUICK, batch_bytes=cut)
    found = facts(dsn)
    assert [row["lat"] for row in found["positions"] if row["identity"] == VICTIM] == [41.5]
    assert of(found["alarms"])["ended_at"] is not None and not of(found["alarms"])["on_desk"]
    assert of(found["tickets"])["state"] == "cancelled"
    assert one(found["installations"])["removed_at"] is not None
    assert of(found["terminals"])["authenticated_at"] is None
    latest = of(found["terminal_states"])
    assert (latest["lat"], latest["last_received_at"], latest["silent_since"]) == (None, None, None)
    assert is_forgotten(dsn)
    if lost:
        (state / "snapshot.npz").unlink()
    again = story.open(VICTIM)
    story.tell(again, lat=41.7, alarm=EMERGENCY, flags=FrameFlag.LOBBY)
    work(story, dsn, state, policies=QUICK, batch_bytes=cut)
    found = facts(dsn)
    assert not is_forgotten(dsn), "it is in the lobby again"
    assert of(found["terminal_states"])["lat"] == 41.7 and len(found["alarms"]) == 1
    assert one([row for row in found["positions"] if row["lat"] == 41.5])["received_at"] == BEGIN
    story.event(Decided(forget(dsn)))
    work(story, dsn, state, policies=QUICK, batch_bytes=cut)
    assert is_forgotten(dsn) and of(facts(dsn)["terminal_states"])["lat"] is None
