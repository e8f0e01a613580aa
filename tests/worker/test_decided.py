"""What people decide is used where the log says so, whatever happens in between."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import decisions
from store.decisions import ACCEPTED, BLOCKED, CONFIGURED, SETTING, Decision
from store.records import Decided
from tests.databases import Server
from tests.worker.stories import BEGIN, FEW_STORIES, Story, begin, facts, finish, work, worker
from tests.worker.test_exactly_once import tell
from tests.worker.test_worker import MOVING, QUICK, one

TERMINALS = ("13912345670", "13912345671", "13912345672", "ABCDEF", "999")
SETTINGS = {
    "silence.moving_s": (5.0, 20.0, 60.0, None),
    "silence.dwell_s": (0.0, 10.0, 40.0, None),
    "silence.proof_reports": (1, 3, None),
    "silence.mass_share": (0.01, 1.0, None),
}


def enter(dsn: str, versions: Sequence[Sequence[Decision]]) -> None:
    """Decide it, version by version."""
    with psycopg.connect(dsn) as connection:
        for number, said in enumerate(versions, decisions.newest(connection) + 1):
            assert decisions.decide_now(connection, "anna", said) == number


def some(dice: random.Random, number: int) -> list[Decision]:
    """Give what might be decided; `number` makes it news."""
    name = dice.choice(list(SETTINGS))
    return [
        Decision(SETTING, "tests.number", number),
        dice.choice(
            [
                Decision(BLOCKED, dice.choice(TERMINALS), dice.random() < 0.6),
                Decision(dice.choice([CONFIGURED, SETTING]), name, dice.choice(SETTINGS[name])),
                Decision(ACCEPTED, dice.choice(TERMINALS), True),
            ]
        ),
    ]


def test_a_blocked_terminal_gets_no_ticket(story: Story, state: Path, dsn: str) -> None:
    session, other = story.open("13912345678"), story.open("13912345679")
    story.tell(session, **MOVING)
    work(story, dsn, state, policies=QUICK)
    enter(dsn, [[Decision(BLOCKED, "13912345678", True)]])
    story.event(Decided(1))
    for _ in range(2):
        story.tick()
        work(story, dsn, state, policies=QUICK)
    for _ in range(60):
        story.tick()
        story.tell(other, **MOVING)
    work(story, dsn, state, policies=QUICK)
    assert facts(dsn)["tickets"] == []


def test_what_is_decided_counts_from_its_place_on(story: Story, state: Path, dsn: str) -> None:
    """A ticket of a silence that was too long by the rule of then stays; nothing is judged anew."""
    enter(
        dsn, [[Decision(CONFIGURED, "silence.moving_s", 10.0)], [Decision(SETTING, "silence.moving_s", 1e6)]]
    )
    first, second = story.open("13912345678"), story.open("13912345679")
    others = [story.open(f"1391234500{n}") for n in range(8)]
    story.event(Decided(1))
    for at in range(120):
        if at == 60:
            story.event(Decided(2))
        if at < 2:
            story.tell(first, **MOVING)
        if at < 70:
            story.tell(second, **MOVING)
        story.frames([(session, story.report(session, **MOVING)) for session in others])
        story.tick()
    work(story, dsn, state, policies=QUICK)
    assert one(facts(dsn)["tickets"])["identity"] == "13912345678"


def test_a_version_that_this_database_never_gave_is_given_to_nobody_else(
    story: Story, state: Path, dsn: str
) -> None:
    """The database is restored from a backup, and the log goes on."""
    enter(dsn, [[Decision(BLOCKED, "13912345678", True)]])
    story.event(Decided(1))
    story.event(Decided(40))
    story.tick()
    work(story, dsn, state, policies=QUICK)
    with psycopg.connect(dsn) as connection:
        assert decisions.taken(connection) == 40
        assert decisions.decide_now(connection, "anna", [Decision(BLOCKED, "13912345678", False)]) == 41


def test_what_an_upgrade_decided_holds_without_a_snapshot(story: Story, state: Path, dsn: str) -> None:
    """No record in the log of the version before says so."""
    session, other = story.open("13912345678"), story.open("13912345679")
    story.tell(session, **MOVING)
    work(story, dsn, state, policies=QUICK)
    enter(dsn, [[Decision(BLOCKED, "13912345678", True)]])
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE decisions_taken SET version = 1")
        connection.execute("UPDATE migrations SET applied_at = now()")
    (state / "snapshot.npz").unlink()
    for _ in range(60):
        story.tick()
        story.tell(other, **MOVING)
    work(story, dsn, state, policies=QUICK)
    assert facts(dsn)["tickets"] == []


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_version_is_taken_when_its_record_was_received(
    story: Story, state: Path, dsn: str, is_cut: bool
) -> None:
    enter(dsn, [[Decision(BLOCKED, "13912345678", True)]])
    session = story.open("13912345679")
    story.event(Decided(1))
    if is_cut:
        work(story, dsn, state)
    story.tick(60)
    story.tell(session)
    work(story, dsn, state)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT taken_at FROM decision_versions").fetchall() == [(BEGIN,)]


@given(
    seed=st.integers(0, 2**32),
    cut=st.sampled_from([1, 300, 5000, 1 << 20]),
    ahead=st.integers(0, 4),
)
@settings(FEW_STORIES, max_examples=10)
def test_any_crash_with_any_decisions_gives_the_facts_of_an_undisturbed_run(
    tmp_path_factory: pytest.TempPathFactory, server: Server, seed: int, cut: int, ahead: int
) -> None:
    """Snapshots are lost and replaced by older ones, and people have decided more than the log says."""
    directory, dice = tmp_path_factory.mktemp("decided"), random.Random(seed)
    story = Story(directory / "log")
    versions = list[list[Decision]]()
    for _ in range(6):
        tell(story, dice, 12)
        for _ in range(dice.randrange(3)):
            versions.append(some(dice, len(versions)))
            if dice.random() < 0.8:  # some are seen only with the next one
                story.event(Decided(len(versions)))
        story.event(Decided(dice.randint(0, len(versions))))  # another gateway's copy is older
        story.tick(dice.choice([0, 15]))
    story.sync()
    calm, disturbed = server.clone(), server.clone()
    try:
        enter(calm, versions)
        work(story, calm, directory / "calm", policies=QUICK)
        enter(disturbed, [*versions, *(some(dice, 1000 + number) for number in range(ahead))])
        _read_disturbed(story, disturbed, directory, cut, dice)
        assert facts(disturbed) == facts(calm)
    finally:
        server.drop(calm)
        server.drop(disturbed)


def _read_disturbed(story: Story, dsn: str, directory: Path, cut: int, dice: random.Random) -> None:
    state, older = directory / "state", directory / "older"
    more = True
    while more:
        if state.exists() and dice.random() < 0.3:
            shutil.rmtree(older, ignore_errors=True)
            shutil.copytree(state, older)
        with worker(story, dsn, state, policies=QUICK, batch_bytes=cut + 1000) as made:
            more = begin(made)
            for _ in range(dice.randrange(4)):
                more = more and made.step()
        if dice.random() < 0.5:
            shutil.rmtree(state)
            if older.exists() and dice.random() < 0.5:
                shutil.copytree(older, state)
    with worker(story, dsn, state, policies=QUICK, batch_bytes=cut) as made:
        finish(made)
