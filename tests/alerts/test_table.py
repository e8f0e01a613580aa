"""What the rules say is what the real table then holds."""

from collections import Counter
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.bits import Change, Judgement, judge
from alerts.state import AlarmState
from store import alarms, terminals
from store.times import to_us
from tests.alerts.fleet import EPOCH_US, SECOND, Book, Report, columns
from tests.alerts.test_bits import reports_of

Connection = psycopg.Connection[Any]


def rows(judgement: Judgement, ids: list[int]) -> list[alarms.Change]:
    """Say it in the words of the store."""
    told: list[alarms.Change] = []
    for each in judgement.changes:
        key = (ids[each.terminal], each.alarm.name, each.object)
        if each.change is Change.ENDED:
            assert each.ended_us is not None
            began_us = each.began_us if each.is_late else None
            told.append(alarms.Ended(*key, began_us, each.ended_us, each.received_us))
            continue
        what = (each.edition, int(each.alarm.severity), each.alarm.ends, each.is_late, each.on_desk)
        times = (each.began_us, each.ended_us, each.seen_us, each.received_us)
        folded = (each.since_us, each.again_us, each.gone_us)
        told.append(alarms.Raised(*key, *what, *times, None, None, None, *folded))
    for seen in judgement.seen:
        began_us = None if seen.ended_us is None else seen.began_us
        key = (ids[seen.terminal], seen.alarm.name, seen.object)
        told.append(alarms.Seen(*key, began_us, seen.ended_us, seen.seen_us, seen.reports))
    return told


def table(connection: Connection, ids: list[int]) -> set[tuple[object, ...]]:
    found = connection.execute(
        "SELECT terminal_id, condition, object, began_at, ended_at, late, on_desk, reports FROM alarms"
    )
    return {
        (ids.index(terminal), name, place, to_us(began), None if ended is None else to_us(ended), *rest)
        for terminal, name, place, began, ended, *rest in found
    }


def history(connection: Connection, ids: list[int]) -> Counter[tuple[object, ...]]:
    found = connection.execute(
        "SELECT terminal_id, condition, object, began_at, at, change"
        " FROM alarm_changes c JOIN alarms a ON a.id = c.alarm_id"
    )
    return Counter(
        (ids.index(terminal), name, place, to_us(began), to_us(at), change)
        for terminal, name, place, began, at, change in found
    )


@given(reports_of(2), st.integers(1, 5), st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_table_holds_what_the_rules_say(
    connection: Connection, frames: list[list[Report]], size: int, handles: bool
) -> None:
    connection.execute("TRUNCATE alarms, alarm_changes")
    terminals.add(connection, {"A1": EPOCH_US, "A2": EPOCH_US})
    known = terminals.ids(connection, ["A1", "A2"])
    ids = [known["A1"], known["A2"]]
    state, book = AlarmState.empty(2), Book()
    for start in range(0, len(frames), size):
        judgement = judge(state, columns(frames[start : start + size]))
        book.write(judgement)
        with connection.transaction():
            alarms.apply(connection, rows(judgement, ids))
        if handles:
            _handle_all(connection, book, at=8000 + start)
    assert table(connection, ids) == {
        (a.terminal, a.condition, a.object, a.began_us, a.ended_us, a.is_late, a.on_desk, a.reports)
        for a in book.alarms
    }
    assert history(connection, ids) == Counter(
        (a.terminal, a.condition, a.object, a.began_us, *each) for a in book.alarms for each in a.history
    )


def _handle_all(connection: Connection, book: Book, at: int) -> None:
    """An operator handles everything on the desk."""
    for alarm in book.alarms:
        if alarm.on_desk and not alarm.handled:
            book.handle(alarm, at)
    connection.execute(
        "UPDATE alarms SET handled_at = now(), result = 'other', ended_at = CASE WHEN ends = 'by_operator'"
        " THEN coalesce(ended_at, greatest(to_timestamp(%s), began_at)) ELSE ended_at END"
        " WHERE on_desk AND handled_at IS NULL",
        [EPOCH_US // SECOND + at],
    )
