"""`northwatch log`: damage is shown, passed on a person's word, told until it is seen; facts go on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from monitor.health import judge
from northwatch.config import Settings
from northwatch.doctor import Findings, _look_at_logs, _look_at_schema
from northwatch.wiring import lacks_history
from protocol.columns import identities
from store.archive import Archivist, Cadence
from store.log import FIRST, LogCorrupt, LogReader
from store.proof import prove
from store.times import from_us
from tests.monitor.test_health import DATABASE, GATEWAY
from tests.northwatch.test_commands import Run, runner
from tests.store.test_damage import bend
from tests.worker.stories import Story, facts, finish, worker

IDENTITY = "13900000001"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, dsn: str) -> Run:
    """The command line on a fresh, migrated database."""
    return runner(data_dir, dsn)


@pytest.fixture
def story(data_dir: Path) -> Iterator[Story]:
    """A log with four reports, each a record of its own."""
    story = Story(data_dir / "log" / "0")
    session = story.open(IDENTITY)
    for _ in range(4):
        story.tell(session)
        story.tick()
        story.sync()
    yield story
    story.writer.close()


def test_damage_is_passed_on_a_persons_word(
    run: Run, story: Story, data_dir: Path, dsn: str, connection: psycopg.Connection[Any]
) -> None:
    assert run("log").exit_code == 0
    assert run("log", "seen").stdout == "there is nothing to take note of\n"
    settings = Settings(data_dir=data_dir)
    second = _records(story)[3]
    bend(story.directory, second.position + 50)
    state = data_dir / "worker"
    with worker(story, dsn, state) as made:
        with pytest.raises(LogCorrupt) as caught:
            finish(made)
        made._give_up(caught.value)
        said = made.health()
        assert said["log_damaged"] and said["stands_s"] > 0 and said["lag_s"] > 0
        told = judge(GATEWAY, made.health(), DATABASE, {}, from_us(0), keeper={}, events={})
        assert [each["code"] for each in told["problems"]][:1] == ["log_damaged"]
        assert told["parts"]["worker"]["state"] != "ok"
        assert "northwatch log skip" in _problems(settings)
        shown = run("log")
        assert shown.exit_code == 1
        assert f"log 0: record is damaged at position {second.position}" in shown.stdout
        assert f"log 0 is {LogReader(story.directory).log_id}\n" in shown.stdout
        refused = run("log", "skip")
        assert refused.exit_code == 1, "nobody has said yes"
        assert run("log", "skip", "--yes", "--by", "mei").exit_code == 0
        finish(made)
        assert made.health()["ok"]
        (skipped,) = made.health()["log_skipped"]
        assert skipped["position"] == second.position
        told = judge(GATEWAY, made.health(), DATABASE, {}, from_us(0), keeper={}, events={})
        assert "log_skipped" in [each["code"] for each in told["problems"]]
    assert len(facts(dsn)["positions"]) == 3
    assert "northwatch log seen" in _problems(settings) and "northwatch log seen" in run("log").stdout
    archivist = Archivist(data_dir / "archive", data_dir / "log", identities, Cadence(every_s=0.001))
    while archivist.step(story.now_us + 1_000_000_000):
        pass
    assert prove(data_dir / "archive", logs=data_dir / "log").frames == 3
    assert run("log", "seen", "--by", "li").exit_code == 0
    assert "log seen" not in _problems(settings)
    rows = connection.execute("SELECT user_name, action, detail FROM audit ORDER BY id").fetchall()
    assert [row[:2] for row in rows] == [("mei", "log.skipped"), ("li", "log.seen")]
    kept = data_dir / "log" / "damaged" / rows[0][2]["kept"]
    assert kept.stat().st_size == second.next_position - second.position
    assert run("log", "skip", "--yes").stdout == "nothing that is not read yet is damaged\n"


def test_a_database_without_the_history_is_told(
    run: Run, story: Story, data_dir: Path, dsn: str, connection: psycopg.Connection[Any]
) -> None:
    reader = LogReader(story.directory)
    found = Findings()
    _look_at_schema(connection, Settings(data_dir=data_dir), found, [reader])
    assert not [each for each in found.problems if "history" in each.what or "before" in each.what]
    for _ in range(8):  # segments come and go
        story.reject(bytes(300_000))
    story.sync()
    reader.release(reader.head())
    assert story.writer.trim()
    assert reader.start > FIRST
    _look_at_schema(connection, Settings(data_dir=data_dir), found, [reader])
    assert "what terminals sent before is not in it" in found.problems[-1].what
    (data_dir / "archive" / "2026-03-01").mkdir(parents=True)
    _look_at_schema(connection, Settings(data_dir=data_dir), found, [])
    assert "the archive begins with 2026-03-01" in found.problems[-1].what
    assert "from 2026-03-01" in lacks_history(Settings(data_dir=data_dir), connection)
    assert not lacks_history(Settings(data_dir=data_dir / "new"), connection)
    with worker(story, dsn, data_dir / "worker") as made:
        finish(made)
    assert not lacks_history(Settings(data_dir=data_dir), connection)


def _records(story: Story) -> list[Any]:
    reader = LogReader(story.directory)
    return reader.read(reader.start)


def _problems(settings: Settings) -> str:
    found = Findings()
    _look_at_logs(settings, found)
    return " ".join(each.what + each.do for each in found.problems)
