"""Alarms of live and stored reports beside those that operators have handled."""

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.databases import Server
from tests.worker.stories import FEW_STORIES, Story, begin, worker

EMERGENCY = 1 << 0
STEP_S = 30

_HANDLE = """
UPDATE alarms
   SET handled_at = now(), result = 'real', ended_at = coalesce(ended_at, greatest(began_at, received_at))
 WHERE handled_at IS NULL
"""
_WAITING = """
SELECT count(*) FROM alarms
 WHERE condition = 'emergency' AND on_desk AND handled_at IS NULL AND ended_at IS NULL
"""

LIVE = st.tuples(st.just("live"), st.booleans())
STORED = st.tuples(
    st.just("stored"),
    st.lists(st.tuples(st.sampled_from([10, 40, 70, 400]), st.booleans()), min_size=1, max_size=3),
)
HANDLED = st.tuples(st.just("handled"), st.none())


@given(told=st.lists(st.one_of(LIVE, STORED, HANDLED), min_size=1, max_size=25), are_apart=st.booleans())
@example(told=[("live", False), ("stored", [(10, True)]), ("handled", None), ("live", True)], are_apart=False)
@FEW_STORIES
def test_who_presses_the_button_is_on_the_desk(
    server: Server,
    tmp_path_factory: pytest.TempPathFactory,
    told: list[tuple[str, object]],
    are_apart: bool,
) -> None:
    """Whatever was handled before, and however the log is cut."""
    directory = tmp_path_factory.mktemp("handled")
    story, dsn = Story(directory / "log"), server.clone()
    try:
        session, was_pressed = story.open("13912345678"), False
        with (
            worker(story, dsn, directory / "state") as made,
            psycopg.connect(dsn, autocommit=True) as database,
        ):

            def read() -> None:
                story.sync()
                while begin(made):
                    pass

            for what, said in told:
                is_press = what == "live" and said is True and not was_pressed
                if what == "live":
                    was_pressed = bool(said)
                    story.tell(session, alarm=EMERGENCY * was_pressed)
                elif what == "stored":
                    assert isinstance(said, list)
                    items = [story.body(ago_s=ago, alarm=EMERGENCY * pressed) for ago, pressed in said]
                    story.say(session, 0x0704, {"type": 1, "items": items})
                else:
                    read()
                    database.execute(_HANDLE)
                if is_press or are_apart:
                    read()
                if is_press:
                    assert database.execute(_WAITING).fetchone() != (0,)
                story.tick(STEP_S)
    finally:
        server.drop(dsn)
