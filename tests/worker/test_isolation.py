"""One report costs that report: another's key, a row that is refused, an error that never passes."""

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from protocol.edition import Edition
from protocol.messages import encode_body
from store import grants, schema
from store.embedded import Embedded
from store.quarantine import Limits
from tests.collisions import pairs
from tests.databases import FAST, ROLES, Server
from tests.worker.stories import FEW_STORIES, SECOND, Story, facts, finish, work, worker
from worker import run
from worker.poison import is_not_now

IDENTITIES = ("13912345670", "13912345671")
BAD_ALTITUDE = 666
REFUSED: LiteralString = "ALTER TABLE position_records ADD CONSTRAINT refused CHECK (altitude <> 666)"


def ask(dsn: str, query: LiteralString, parameters: Any = None) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


def body_of(story: Story) -> bytes:
    return encode_body(0x0200, Edition.E2013, story.body())


@pytest.mark.parametrize("batch_bytes", [1, 1 << 20], ids=["one by one", "in one batch"])
def test_86_bytes(story: Story, state: Path, dsn: str, batch_bytes: int) -> None:
    """Two reports of one second, found within seconds, stopped everybody's facts for ever."""
    session = story.open(IDENTITIES[0])
    ((first, second),) = pairs(body_of(story), 1)
    frames = [story.plain(session, 0x0200, body) for body in (first, second, first, second)]
    for frame in frames:
        story.frames([(session, frame)])
        story.tick()
    work(story, dsn, state, batch_bytes=batch_bytes)
    found = facts(dsn)
    (row,) = found["positions"]
    assert row["lat"] == int.from_bytes(first[8:12]) / 1e6 and row["copies"] == 2
    kept = [(each["reason"], each["raw"]) for each in found["quarantine"]]
    assert kept == [("hash_collision", frames[1]), ("hash_collision", frames[3])]


def test_those_in_batches_and_pieces_are_kept_as_they_came(story: Story, state: Path, dsn: str) -> None:
    session = story.open(IDENTITIES[0])
    found = pairs(body_of(story), 3)
    for first, _ in found:
        story.say(session, 0x0200, first)
    items = b"".join(len(second).to_bytes(2) + second for _, second in found)
    batch = story.plain(session, 0x0704, b"\0\3\0" + items)
    story.frames([(session, batch)])
    pieces = [
        story.plain(session, 0x0200, part, fragment=(2, number))
        for number, part in enumerate((found[0][1][:20], found[0][1][20:]), 1)
    ]
    for piece in pieces:
        story.frames([(session, piece)])
    work(story, dsn, state)
    kept = {row["raw"]: row["reason"] for row in facts(dsn)["quarantine"]}
    assert kept == dict.fromkeys([batch, *pieces], "hash_collision")
    assert len(facts(dsn)["positions"]) == 3


@given(
    said=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 7), st.booleans()), min_size=1, max_size=30),
    batch_bytes=st.sampled_from([1, 300, 1 << 20]),
    restarts=st.booleans(),
)
@FEW_STORIES
def test_any_multiset_of_reports_is_written(
    server: Server,
    tmp_path_factory: pytest.TempPathFactory,
    said: list[tuple[int, int, bool]],
    batch_bytes: int,
    restarts: bool,
) -> None:
    """Each report is a row with all its copies, or in quarantine as often as it was sent."""
    directory = tmp_path_factory.mktemp("multiset")
    story, dsn = Story(directory / "log"), server.clone()
    try:
        sessions = [story.open(identity) for identity in IDENTITIES]
        bodies = [body for pair in pairs(body_of(story), 4) for body in pair]
        rows: dict[tuple[int, int], Counter[bytes]] = {}
        lost: Counter[tuple[int, bytes]] = Counter()
        for who, which, goes_on in said:
            story.frames([(sessions[who], story.plain(sessions[who], 0x0200, bodies[which]))])
            row = rows.setdefault((who, which // 2), Counter())
            if not row or bodies[which] in row:
                row[bodies[which]] += 1
            else:
                lost[who, bodies[which]] += 1
            if not goes_on:
                story.tick()
                if restarts:
                    work(story, dsn, directory / "state", batch_bytes=batch_bytes)
        work(story, dsn, directory / "state", batch_bytes=batch_bytes)
        found = facts(dsn)
    finally:
        server.drop(dsn)
    stored = {(row["identity"], round(row["lat"] * 1e6)): row["copies"] for row in found["positions"]}
    assert stored == {
        (IDENTITIES[who], int.from_bytes(body[8:12])): copies
        for (who, _), row in rows.items()
        for body, copies in row.items()
    }
    assert {each["reason"] for each in found["quarantine"]} <= {"hash_collision"}
    kept = Counter((each["identity"], each["raw"][12:-1]) for each in found["quarantine"])
    assert kept == {(IDENTITIES[who], body): times for (who, body), times in lost.items()}


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count how often the worker reads its snapshot, and how often it takes records."""
    counts: Counter[str] = Counter()

    def counting(name: str, what: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **how: Any) -> Any:
            counts[name] += 1
            return what(*given, **how)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(run.snapshot, "load", counting("restored", run.snapshot.load))
        patched.setattr(run.Worker, "_take", counting("tried", run.Worker._take))
        yield counts


@pytest.mark.parametrize("bad", [1, 20, 300])
def test_poisoned_rows_cost_those_rows(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    """However many they are: the batch is tried three times, and the state restored once."""
    ask(dsn, REFUSED)
    session = story.open(IDENTITIES[0])
    total = 600
    chosen = set(range(0, total, total // bad))
    for turn in range(0, total, 20):
        frames = []
        for number in range(turn, turn + 20):
            altitude = BAD_ALTITUDE if number in chosen else 40
            frames.append((session, story.report(session, ago_s=total - number, altitude_m=altitude)))
        story.frames(frames)
    story.sync()
    with counted(monkeypatch) as counts, worker(story, dsn, state) as made:
        finish(made)
    found = facts(dsn)
    assert len(found["positions"]) == total - len(chosen)
    assert {row["altitude_m"] for row in found["positions"]} == {40}
    assert Counter(row["reason"] for row in found["quarantine"]) == {"poisoned": len(chosen)}
    assert counts["tried"] <= 2 and counts["restored"] <= 3, counts


def test_a_restart_leaves_out_what_was_set_aside(story: Story, state: Path, dsn: str) -> None:
    ask(dsn, REFUSED)
    session = story.open(IDENTITIES[0])
    for altitude in (40, BAD_ALTITUDE, 40):
        story.tell(session, altitude_m=altitude, alarm=int(altitude == BAD_ALTITUDE))
        story.tick()
    work(story, dsn, state, snapshot_s=1000.0)
    before = facts(dsn)
    (state / "snapshot.npz").unlink()
    story.tell(session, altitude_m=40)
    work(story, dsn, state)
    after = facts(dsn)
    assert before["alarms"] == after["alarms"] == [], "what was set aside says nothing"
    assert len(after["positions"]) == 3 and len(after["quarantine"]) == 1


def test_a_poisoned_message_costs_that_message(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(dsn, "ALTER TABLE messages ADD CHECK (length(body) <> 7)")
    session = story.open(IDENTITIES[0])
    for number in range(64):
        text = b"\x01" + b"x" * (6 if number in (7, 50) else 3)
        story.frames([(session, story.plain(session, 0x0900, text)), (session, story.report(session))])
    story.sync()
    with counted(monkeypatch) as counts, worker(story, dsn, state) as made:
        finish(made)
    found = facts(dsn)
    assert len(found["messages"]) == 62 and sum(row["copies"] for row in found["positions"]) == 64
    assert [row["reason"] for row in found["quarantine"]] == ["poisoned"] * 2
    assert counts["tried"] <= 2 and counts["restored"] <= 3, counts


def test_what_no_search_finds_is_found_by_halving(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """k of n take some 2 k log n tries, from copies of the state in memory."""
    ask(dsn, "ALTER TABLE terminals ADD CHECK (registered_plate <> '辽A66666')")
    said = {
        "province_id": 21,
        "city_id": 100,
        "manufacturer_id": "ABCDE",
        "terminal_model": "T1",
        "terminal_id": "7654321",
        "plate_color": 2,
    }
    for number in range(64):
        session = story.open(f"139000000{number:02}")
        plate = "辽A66666" if number in (9, 40) else f"辽B000{number:02}"
        registration = story.plain(session, 0x0100, {**said, "plate_number": plate})
        story.frames([(session, registration), (session, story.report(session))])
    story.sync()
    with counted(monkeypatch) as counts, worker(story, dsn, state) as made:
        finish(made)
    found = facts(dsn)
    assert len(found["positions"]) == 64 and len(found["installations"]) == 62
    assert [row["reason"] for row in found["quarantine"]] == ["poisoned"] * 2
    assert counts["tried"] <= 2 * 2 * 8 + 12 and counts["restored"] <= 3, counts


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        *((state, True) for state in ("08006", "25006", "40001", "40P01", "42501", "42P01", "53100")),
        *((state, True) for state in ("55P03", "57014", "57P01", "58030")),
        *(
            (state, False)
            for state in ("21000", "22003", "22021", "23505", "23514", "42601", "54000", "XX000")
        ),
    ],
)
def test_what_says_nothing_about_the_data(state: str, waits: bool) -> None:
    assert is_not_now(psycopg.errors.lookup(state)("…")) == waits


def test_errors_without_a_state() -> None:
    assert is_not_now(psycopg.OperationalError("the connection is lost")) and is_not_now(OSError(28, "full"))
    assert not is_not_now(psycopg.DataError("no NUL")) and not is_not_now(IndexError())


TRIGGER: LiteralString = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NEW.altitude = 666 OR EXISTS (SELECT FROM audit WHERE action = 'all') THEN
        RAISE EXCEPTION 'too slow' USING ERRCODE = '57014';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON position_records FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def test_an_error_that_should_pass_and_does_not_is_the_records(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """… once others can be written; while nobody can, the worker waits, and nothing goes to quarantine."""
    monkeypatch.setattr(run, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(run, "LONGEST_BACKOFF_S", 0.01)
    ask(dsn, TRIGGER)
    ask(
        dsn, "INSERT INTO audit (user_name, action, subject, detail) VALUES ('t', 'all', '', %s)", [Jsonb({})]
    )
    session = story.open(IDENTITIES[0])
    for altitude in (40, BAD_ALTITUDE, 41, 42):
        story.tell(session, altitude_m=altitude)
    story.sync()
    stop, failures, gave_up = threading.Event(), count(1), threading.Event()
    with worker(story, dsn, state) as made:
        give_up = made._give_up

        def counting(error: Exception) -> None:
            give_up(error)
            if next(failures) == 2 * run.PATIENCE:
                gave_up.set()

        monkeypatch.setattr(made, "_give_up", counting)
        thread = threading.Thread(target=made.run, args=(stop,))
        thread.start()
        try:
            assert gave_up.wait(120)
            assert facts(dsn)["positions"] == facts(dsn)["quarantine"] == []
            ask(dsn, "DELETE FROM audit")
            while len(found := facts(dsn)["positions"]) < 3 and thread.is_alive():
                stop.wait(0.05)
        finally:
            stop.set()
            thread.join()
    assert {row["altitude_m"] for row in found} == {40, 41, 42}
    assert [row["reason"] for row in facts(dsn)["quarantine"]] == ["poisoned"]


def test_a_full_disk_convicts_nothing_that_was_sent(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small report finds a page where a large record does not, however often both are tried."""
    monkeypatch.setattr(run, "FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(run, "LONGEST_BACKOFF_S", 0.001)
    ask(dsn, cast("LiteralString", TRIGGER.replace("57014", "53100")))
    session = story.open(IDENTITIES[0])
    for altitude in (40, BAD_ALTITUDE, 41, 42):
        story.tell(session, altitude_m=altitude)
    story.sync()
    stop, failures, gave_up = threading.Event(), count(1), threading.Event()
    with worker(story, dsn, state) as made:
        give_up = made._give_up

        def counting(error: Exception) -> None:
            give_up(error)
            if next(failures) == 2 * run.PATIENCE:
                gave_up.set()
                stop.set()

        monkeypatch.setattr(made, "_give_up", counting)
        thread = threading.Thread(target=made.run, args=(stop,))
        thread.start()
        while thread.is_alive() and not facts(dsn)["quarantine"]:
            stop.wait(0.05)
        stop.set()
        thread.join()
    assert gave_up.is_set() and facts(dsn)["quarantine"] == []
    ask(dsn, "DROP TRIGGER refuse ON position_records")
    with worker(story, dsn, state) as made:
        finish(made)
    assert len(facts(dsn)["positions"]) == 4 and facts(dsn)["quarantine"] == []


@pytest.mark.parametrize("batch_bytes", [1, 500, 1 << 20])
def test_a_flood_of_bad_bodies_is_counted(story: Story, state: Path, dsn: str, batch_bytes: int) -> None:
    sessions = [story.open(identity) for identity in IDENTITIES]
    for number in range(12):
        for session in sessions:
            body = number.to_bytes(5)
            story.frames([(session, story.plain(session, 0x0200 if number % 3 else 0x0F01, body))])
        story.now_us += 600 * SECOND
    for _ in range(2):
        work(story, dsn, state, batch_bytes=batch_bytes, quarantine=Limits(kept_per_hour=2))
    counts = ask(dsn, "SELECT reason, things, kept FROM quarantine_counts ORDER BY hour, reason, terminal_id")
    assert (
        counts
        == [("short_body", 4, 2)] * 2
        + [("unknown_id", 2, 2)] * 2
        + [("short_body", 4, 2)] * 2
        + [("unknown_id", 2, 2)] * 2
    )
    kept = [row["raw"][-2] for row in facts(dsn)["quarantine"] if row["reason"] == "short_body"]
    assert sorted(kept) == sorted([1, 2, 7, 8] * 2)


MOST_FAILURES = 20
"""So often the worker may begin anew, refused connections of a server that recovers included."""
CRASH: LiteralString = """
CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NEW.altitude = 666 THEN
        COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER crash BEFORE INSERT ON position_records FOR EACH ROW EXECUTE FUNCTION crash();
"""


@pytest.fixture
def own_dsn() -> Iterator[str]:
    """A database on a server of its own, whose processes may be killed."""
    directory = Path(tempfile.mkdtemp(prefix="northwatch-test-"))
    database = Embedded(directory / "database", FAST)
    try:
        dsn = database.start()
        with psycopg.connect(dsn, autocommit=True) as connection:
            schema.migrate(connection)
            grants.give(connection, ROLES, make=True)
        yield dsn
    finally:
        database.kill()
        shutil.rmtree(directory, ignore_errors=True)


def test_a_report_that_ends_the_process_of_the_database_costs_that_report(
    story: Story, state: Path, own_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server kills all its processes and recovers each time, and says nothing of whose fault it was."""
    monkeypatch.setattr(run, "PATIENCE", 2)
    ask(own_dsn, CRASH)
    session = story.open(IDENTITIES[0])
    for altitudes in ((40, 41), (42, BAD_ALTITUDE, 43), (44, 45)):
        story.frames([(session, story.report(session, altitude_m=each)) for each in altitudes])
        story.tick()
    story.sync()
    stop, failures = threading.Event(), count()
    with worker(story, own_dsn, state) as made:
        give_up = made._give_up

        def counting(error: Exception) -> None:
            give_up(error)
            if next(failures) > MOST_FAILURES:
                stop.set()

        monkeypatch.setattr(made, "_give_up", counting)
        thread = threading.Thread(target=made.run, args=(stop,))
        thread.start()
        while thread.is_alive() and (made.health()["lag_bytes"] != 0 or made.health()["error"]):
            stop.wait(0.05)
        stop.set()
        thread.join()
    found = facts(own_dsn)
    assert {row["altitude_m"] for row in found["positions"]} == {40, 41, 42, 43, 44, 45}
    assert [row["reason"] for row in found["quarantine"]] == ["poisoned"]
    assert next(failures) <= MOST_FAILURES
