"""What a terminal says beyond its allowance costs nobody anything, and whoever says what is usual is read."""

from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.edition import Edition
from protocol.message import MESSAGES, UP, decode_body
from tests.worker.stories import Story, facts, finish, work, worker
from worker import messages, reading
from worker.reading import Asked, Reading

SECOND = 1_000_000
ASKED = st.builds(
    Asked,
    row=st.just(0),
    msg_id=st.sampled_from([0x0100, 0x0102, 0x0702, 0x0801, 0x0900]),
    is_fragment=st.booleans(),
    terminal=st.integers(0, 3),
    received_us=st.integers(0, SECOND),
)


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowances that a few messages use up."""
    for name in ("MESSAGES", "PIECES", "REGISTRATIONS", "MEDIA", "WITHOUT_CODE"):
        monkeypatch.setattr(reading, name, getattr(reading, name)._replace(each=5))


@given(st.lists(ASKED, max_size=60), st.integers(1, 59))
def test_allowances_are_the_same_after_a_snapshot(steps: list[Asked], cut: int) -> None:
    ordered = [
        asked._replace(received_us=at)
        for asked, at in zip(steps, accumulate(each.received_us for each in steps), strict=True)
    ]
    whole, first = Reading(), Reading()
    expected = [whole.allows(each) for each in ordered]
    found = [first.allows(each) for each in ordered[:cut]]
    second = Reading.from_arrays({name: array.copy() for name, array in first.to_arrays().items()})
    found += [second.allows(each) for each in ordered[cut:]]
    assert found == expected


@pytest.mark.parametrize("cut", [300, 3000, 1 << 20])
def test_what_is_too_much_is_counted_however_the_log_is_cut(
    cut: int, tight: None, story: Story, state: Path, dsn: str
) -> None:
    chatty, quiet = story.open("13912345678"), story.open("13912345679")
    for _ in range(4):
        story.frames([(chatty, story.plain(chatty, 0x0900, bytes([0xF0, n]))) for n in range(20)])
        story.say(quiet, 0x0900, b"\xf0\x01")
        story.tell(quiet)
        story.tick(10)
    work(story, dsn, state, batch_bytes=cut)
    found = facts(dsn)
    assert len(found["positions"]) == 4
    said = [row["identity"] for row in found["messages"]]
    assert (said.count("13912345678"), said.count("13912345679")) == (20, 4)
    assert found["quarantine"] == []
    with psycopg.connect(dsn) as connection:
        counted = connection.execute(
            "SELECT reason, sum(things), sum(kept) FROM quarantine_counts GROUP BY 1"
        )
        assert counted.fetchall() == [(reading.TOO_MANY, 60, 0)]


def test_a_flood_of_any_message_is_read_no_further_than_the_allowance(
    tight: None, story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the messages are, the worker decodes and writes no more of them."""
    decoded = list[int]()

    def counted(msg_id: int, edition: Edition, body: bytes) -> Any:
        decoded.append(msg_id)
        return decode_body(msg_id, edition, body)

    monkeypatch.setattr(messages, "decode_body", counted)
    ids = [msg_id for msg_id, declared in MESSAGES.items() if declared.direction is UP]
    for msg_id in ids:
        session = story.open(f"139{msg_id:08}")
        story.frames([(session, story.plain(session, msg_id, bytes([n % 256]))) for n in range(300)])
    story.tick()
    story.sync()
    with worker(story, dsn, state) as made:
        finish(made)
    assert Counter(decoded).most_common(1)[0][1] <= 2 * 5
    assert len(decoded) <= 2 * 5 * len(ids)  # some are tried with and without a serial


def test_the_edition_follows_the_last_registration_of_each_terminal(
    story: Story, state: Path, dsn: str
) -> None:
    """Also where thousands register in one batch, each again and again: as the frames came, one by one."""
    chance = np.random.default_rng(8)
    sessions = [story.open(f"139123456{number:02}") for number in range(20)]
    bodies = {"2011": bytes(25 + 8), "2013": bytes(37 + 8)}
    expected = {}
    for _ in range(30):
        frames = []
        for session in chance.choice(sessions, 40).tolist():
            edition = str(chance.choice(list(bodies)))
            frames.append((session, story.plain(session, 0x0100, bodies[edition])))
            expected[story.sessions[session][0]] = edition
        story.frames(frames)
        story.now_us += 60 * SECOND  # or it would be too many of them
        story.tick()
    work(story, dsn, state)
    with psycopg.connect(dsn) as connection:
        found = dict(connection.execute("SELECT identity, edition FROM terminals").fetchall())
    assert found == {story.sessions[each][0]: "2013" for each in sessions} | expected
