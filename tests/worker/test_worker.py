"""The worker on a real log and a real database."""

from pathlib import Path

from tests.worker.stories import Story, facts, work


def test_reports_become_positions(tmp_path: Path, dsn: str) -> None:
    story = Story(tmp_path / "log")
    story.started()
    session = story.open("13912345678")
    for _ in range(3):
        story.tick()
        story.tell(session, lat=41.9, lon=123.5, speed_kmh=36.0, alarm=1)
    story.close(session)
    work(story, dsn, tmp_path / "state")
    found = facts(dsn)
    assert [row["lat"] for row in found["positions"]] == [41.9] * 3
    assert {row["event"] for row in found["link_events"]} == {"opened", "peer_closed"}
    (alarm,) = found["alarms"]
    assert (alarm["condition"], alarm["reports"], alarm["ended_at"]) == ("emergency", 3, None)
