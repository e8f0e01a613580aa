"""Stories of trucks, and what must hold for any of them."""

import dataclasses
from collections import Counter
from dataclasses import replace
from typing import TypeAlias
from unittest.mock import patch

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerts import bits
from alerts.bits import (
    MAX_CHANGES,
    MAX_PLACES,
    OWN_CHANGES,
    SHARED_CHANGES,
    Change,
    Judgement,
    judge,
)
from alerts.objects import crossed_places, object_name, overspeed_places
from alerts.state import NEVER, AlarmState
from tests.alerts.fleet import Alarm, Book, Fleet, Report, Truck, columns, seconds


def truck(edition: str = "2013") -> Truck:
    return Fleet().truck(edition)


def crossing(area: int, direction: int) -> tuple[int, int, int]:
    """Places of a report that enters (0) or leaves (1) a circle."""
    item = np.frombuffer(bytes([1]) + area.to_bytes(4, "big") + bytes([direction]), np.uint8)
    (code,) = crossed_places(item, np.array([0]), np.array([6]))
    return (0, int(code), 0)


def speeding(area: int) -> tuple[int, int, int]:
    """Places of a report that is too fast within a polygon."""
    item = np.frombuffer(bytes([3]) + area.to_bytes(4, "big"), np.uint8)
    (code,) = overspeed_places(item, np.array([0]), np.array([5]))
    return (int(code), 0, 0)


# live


def test_a_latched_bit_is_one_alarm_from_edge_to_edge() -> None:
    t = truck()
    for at in range(0, 300, 30):
        t.at(at).reports("overspeed")
    assert t.alarms == ["overspeed 0–"]
    t.at(300).reports()
    assert t.alarms == ["overspeed 0–300"]
    t.at(390).reports("overspeed")
    assert t.alarms == ["overspeed 0–300", "overspeed 390–"]


def test_what_comes_back_within_a_minute_was_not_over() -> None:
    t = truck()
    for at in range(0, 600, 60):
        t.at(at).reports("power_lost").at(at + 30).reports()
    assert t.alarms == ["power_lost 0–570 ×10"]
    t.at(631).reports("power_lost")
    assert t.alarms == ["power_lost 0–570 ×10", "power_lost 631–"]


def test_what_comes_back_is_the_same_alarm_though_its_begin_was_forgotten() -> None:
    t = truck()
    t.at(0).reports("power_lost")
    kept = t.fleet.state
    forgetful = AlarmState.empty(len(kept))  # as it is recalled where the snapshot is lost
    forgetful.live, forgetful.live_us, forgetful.edition = kept.live, kept.live_us, kept.edition
    t.fleet.state = forgetful
    t.at(30).reports().at(40).reports("power_lost").at(50).reports()
    assert t.alarms == ["power_lost 0–50 ×2"]


def test_what_comes_back_after_it_was_handled_is_another_alarm() -> None:
    t = truck("2019")
    t.at(0).reports("collision").at(10).handles("collision").at(20).reports()
    t.at(30).reports("collision").at(40).reports().at(50).reports("collision")
    assert t.alarms == ["collision 0–20", "collision 30– ×2"]
    t.handles("collision").at(60).reports().at(70).reports("collision")
    assert t.alarms == ["collision 0–20", "collision 30–60 ×2", "collision 70–"]


def test_what_comes_back_at_another_place_is_another_alarm() -> None:
    t = truck()
    t.at(0).reports("overspeed", places=speeding(5)).at(20).reports()
    t.at(40).reports("overspeed", places=speeding(6)).at(50).reports()
    t.at(60).reports("overspeed")
    assert t.alarms == ["overspeed polygon:5 0–20", "overspeed polygon:6 40– ×2"]


def test_a_clock_that_jumps_makes_no_more_alarms_of_a_flapping_bit() -> None:
    t = truck()
    for at in range(100):
        t.at(at).reports("overspeed" if at % 2 else "power_lost", at=at * 3600)
    assert t.alarms == ["power_lost 0–356400 ×50", "overspeed 3600– ×50"]


def test_the_end_says_when_the_condition_was_last_seen() -> None:
    t = truck()
    t.at(0).reports("overspeed").at(30).reports("overspeed").at(60).reports()
    ended = t.fleet.changes[-1]
    assert ended.change is Change.ENDED
    assert (seconds(ended.began_us), seconds(ended.seen_us), seconds(ended.ended_us or 0)) == (0, 30, 60)


def test_an_emergency_stays_until_an_operator_handles_it() -> None:
    t = truck()
    t.at(0).reports("emergency").at(30).reports()
    assert t.alarms == ["emergency 0–"]
    t.at(60).reports("emergency").at(90).reports()
    assert t.alarms == ["emergency 0– ×2"]
    t.at(100).handles("emergency").at(120).reports("emergency")
    assert t.alarms == ["emergency 0–100 ×2", "emergency 120–"]


def test_a_terminal_that_repeats_an_answered_bit_is_counted_not_raised() -> None:
    t = truck()
    for at in range(0, 300, 30):
        t.at(at).reports("emergency")
    assert t.alarms == ["emergency 0– ×10"]
    t.at(300).handles("emergency").at(330).reports("emergency")
    assert t.alarms == ["emergency 0–300 ×10"]


def test_a_bit_repeated_after_a_long_silence_is_raised_again() -> None:
    t = truck()
    t.at(0).reports("emergency").handles("emergency").at(1200).reports("emergency")
    assert t.alarms == ["emergency 0–0", "emergency 1200–"]


def test_bits_mean_what_the_edition_says() -> None:
    old, new = truck("2013"), truck("2019")
    old.at(0).reports(word=1 << 29 | 1 << 31 | 1 << 15 | 1 << 3)
    new.at(0).reports(word=1 << 29 | 1 << 31 | 1 << 15 | 1 << 3)
    assert old.alarms == ["danger_warning 0–", "collision_warning 0–", "illegal_door_opening 0–"]
    assert new.alarms == ["dangerous_driving 0–", "forbidden_driving 0–", "collision 0–"]


def test_2011_reserves_the_pre_warnings() -> None:
    t = truck("2011")
    t.at(0).reports(word=0xFFFF_FFFF)
    assert not {"overspeed_warning", "rollover_warning", "ic_card_fault"} & {a.split()[0] for a in t.alarms}


def test_a_new_edition_ends_what_it_calls_otherwise() -> None:
    t = truck("2013")
    t.at(0).reports("collision_warning", "overspeed")
    t.is_now("2019").at(30).reports("collision", "overspeed")
    assert t.alarms == ["overspeed 0–", "collision_warning 0–30", "collision 30–"]


def test_a_broken_clock_raises_and_ends_by_time_of_arrival() -> None:
    t = truck()
    t.at(100).reports("emergency", "overspeed", at=-800_000_000, is_plausible=False)
    t.at(130).reports(at=900_000_000, is_plausible=False)
    assert t.alarms == ["emergency 100–", "overspeed 100–130"]


def test_no_alarm_ends_before_it_began() -> None:
    t = truck()
    t.at(100).reports("overspeed", at=0, is_plausible=False)
    t.at(130).reports(at=90)  # the clock is right again, and behind ours
    assert t.alarms == ["overspeed 100–100"]


def test_a_place_is_part_of_the_key() -> None:
    t = truck()
    t.at(0).reports("overspeed", places=speeding(5))
    t.at(30).reports("overspeed", places=speeding(6))
    t.at(60).reports("overspeed")  # an item that is missing once does not end it
    t.at(90).reports()
    assert t.alarms == ["overspeed polygon:5 0–30", "overspeed polygon:6 30–90"]


def test_entering_and_leaving_are_two_alarms() -> None:
    t = truck()
    t.at(0).reports("area_crossed", places=crossing(7, 0)).at(30).reports()
    t.at(60).reports("area_crossed", places=crossing(7, 1)).at(90).reports(
        "area_crossed", places=crossing(8, 0)
    )
    assert t.alarms == [
        "area_crossed circle:7:in 0–",
        "area_crossed circle:7:out 60–",
        "area_crossed circle:8:in 90–",
    ]


def test_a_clock_that_stands_still_loses_no_press() -> None:
    t = truck()
    for at in range(0, 900, 300):
        t.at(at).reports("emergency", at=0).at(at + 30).reports(at=0).at(at + 60).handles("emergency")
    assert t.alarms == ["emergency 0–60", "emergency 0–360", "emergency 0–660"]


def test_one_second_can_hold_a_whole_flap() -> None:
    t = truck()
    t.at(0).reports("overspeed").reports().reports("overspeed").at(1).reports()
    assert t.alarms == ["overspeed 0–1 ×2"]


# late


def test_late_data_tells_the_history_with_true_times() -> None:
    t = truck()
    t.at(0).reports().at(600).reports()
    t.sends_late((60, "overspeed"), (90, "overspeed"), (120,))
    assert t.alarms == ["overspeed 60–120 late history"]


def test_late_data_in_any_order_within_one_frame() -> None:
    t = truck()
    t.at(600).reports().sends_late((120,), (60, "overspeed"), (90, "overspeed"))
    assert t.alarms == ["overspeed 60–120 late history"]


def test_a_late_run_goes_on_over_frames_and_live_reports() -> None:
    t = truck()
    t.at(0).reports().at(600).reports()
    t.sends_late((60, "overspeed"), (90, "overspeed"))
    t.at(610).reports()
    t.sends_late((120, "overspeed"), (150, "overspeed"))
    assert t.alarms == ["overspeed 60–150 late history"]
    t.at(640).reports().sends_late((180,))
    assert t.alarms == ["overspeed 60–180 late history"]


def test_a_late_emergency_reaches_the_desk_once() -> None:
    t = truck()
    t.at(0).reports().at(600).reports()
    t.sends_late((60, "emergency"), (90, "emergency"), (120,))
    assert t.alarms == ["emergency 60– ×2 late"]
    raised = t.fleet.changes[0]
    assert raised.on_desk and raised.is_late and raised.ended_us is None
    t.sends_late((150,), (180, "emergency"))
    assert t.alarms == ["emergency 60– ×3 late"]


def test_a_late_collision_reaches_the_desk_with_its_end() -> None:
    t = truck("2019")
    t.at(0).reports().at(600).reports().sends_late((60, "collision"), (90,))
    assert t.alarms == ["collision 60–90 late"]


def test_late_data_never_closes_a_live_alarm() -> None:
    t = truck()
    t.at(0).reports().at(60).reports("overspeed", "emergency")
    t.sends_late((30,), (90,), (120,))
    assert t.alarms == ["emergency 60–", "overspeed 60–"]


def test_late_data_never_reopens_a_live_alarm() -> None:
    t = truck()
    t.at(0).reports("overspeed").at(60).reports()
    t.sends_late((20, "overspeed"), (40, "overspeed"))
    assert t.alarms == ["overspeed 0–60"]


def test_a_lasting_fault_is_no_new_alarm_in_every_tunnel() -> None:
    t = truck()
    t.at(0).reports("gnss_antenna_open")
    for tunnel in range(1000, 20_000, 1000):
        t.at(tunnel).reports("gnss_antenna_open")
        t.at(tunnel + 300).reports("gnss_antenna_open")
        t.sends_late(*((tunnel + after, "gnss_antenna_open") for after in range(30, 300, 30)))
    assert t.alarms == ["gnss_antenna_open 0–"]


def test_a_press_in_the_gap_is_known_if_it_never_stopped() -> None:
    """The answer to the press was lost with the link, so all stored reports carry the bit."""
    t = truck()
    t.at(0).reports("emergency")
    t.at(300).handles("emergency").reports()
    t.sends_late((30, "emergency"), (60, "emergency"), (90,))
    assert t.alarms == ["emergency 0–300"]


def test_a_second_press_in_the_gap_is_never_lost() -> None:
    t = truck()
    t.at(0).reports("emergency")
    t.at(200).handles("emergency").at(300).reports()
    t.sends_late((30,), (60,), (90, "emergency"))
    assert t.alarms == ["emergency 0–200", "emergency 90– late"]


def test_a_second_press_is_not_lost_when_the_backfill_comes_first() -> None:
    t = truck()
    t.at(0).reports("emergency").handles("emergency")
    t.at(300).sends_late((30,), (90, "emergency"))
    assert t.alarms[1:] == ["emergency 90– late"]


def test_a_press_long_after_the_last_one_is_another_press() -> None:
    t = truck()
    t.at(0).reports("emergency").at(10).handles("emergency")
    t.at(90_000).sends_late((80_000, "emergency"))
    assert t.alarms == ["emergency 0–10", "emergency 80000– late"]


def test_a_backfill_before_the_live_report_is_the_same_alarm() -> None:
    t = truck()
    t.at(0).reports()
    t.at(300).sends_late((60, "power_lost"), (90, "power_lost"))
    t.at(301).reports("power_lost")
    assert t.alarms == ["power_lost 60– ×2"]
    t.sends_late((120,))
    assert t.alarms == ["power_lost 60– ×2"]
    t.at(330).reports()
    assert t.alarms == ["power_lost 60–330 ×2"]


def test_a_backfill_sent_twice_changes_nothing() -> None:
    t = truck()
    t.at(0).reports().at(600).reports()
    points = ((60, "overspeed", "emergency"), (90, "overspeed"), (120,), (150, "overspeed"), (180,))
    t.sends_late(*points)
    once = t.alarms
    t.sends_late(*points)
    assert t.alarms == once


def test_a_hole_in_late_data_starts_a_new_run() -> None:
    t = truck()
    t.at(0).reports().at(90_000).reports()
    t.sends_late((60, "overspeed"), (90, "overspeed"), (50_000, "overspeed"))
    assert t.alarms == ["overspeed 60–90 late history", "overspeed 50000–50000 late history"]


def test_a_live_report_between_parts_two_runs() -> None:
    """Two tunnels, and the button pressed again at the mouth of the second."""
    t = truck()
    t.at(0).reports().at(60).reports().sends_late((20,), (40, "emergency"))
    t.at(70).handles("emergency").at(90).reports().at(200).reports()
    t.sends_late((120, "emergency"), (150,))
    assert t.alarms == ["emergency 40–70 late", "emergency 120– late"]


def test_a_live_report_between_parts_two_runs_when_the_backfill_comes_first() -> None:
    t = truck()
    t.at(0).reports().at(60).sends_late((20,), (40, "emergency"))
    t.at(61).reports().at(70).handles("emergency").at(200).reports()
    t.sends_late((120, "emergency"), (150,))
    assert t.alarms == ["emergency 40–70 late", "emergency 120– late"]


def test_late_data_is_read_by_its_edition() -> None:
    t = truck("2013")
    t.at(0).reports().at(600).reports()
    t.sends_late((60, "collision_warning"))
    t.is_now("2019").sends_late((90, "collision"))
    assert t.alarms == ["collision_warning 60–60 late history", "collision 90–90 late"]


# for any reports


def reports_of(terminals: int, *, late: bool = True) -> st.SearchStrategy[list[list[Report]]]:
    """Frames of live reports in order and of late ones out of order. Few bits and times, so that they
    meet."""
    words = st.sets(st.sampled_from([0, 1, 3, 5, 20, 29]), max_size=3).map(
        lambda bits: sum(1 << b for b in bits)
    )
    one = st.builds(
        Report,
        terminal=st.integers(0, terminals - 1),
        at=st.integers(0, 20).map(lambda step: step * 300),
        received=st.just(0),
        word=words,
        edition=st.sampled_from([0, 1, 1, 1, 2]),
        is_late=st.booleans() if late else st.just(False),
        is_plausible=st.sampled_from([True, True, True, False]),
        places=st.tuples(st.integers(0, 2), st.integers(0, 2), st.just(0)),
    )
    stored = st.lists(one, min_size=1, max_size=4)
    return st.lists(st.one_of(one.map(lambda r: [r]), stored), max_size=25).map(in_order)


def in_order(frames: list[list[Report]]) -> list[list[Report]]:
    """Make the frames such as can arrive: of one terminal each, received later and later, and what is not
    late is never older than the newest of its terminal."""
    newest: dict[int, int] = {}
    arriving = []
    for number, frame in enumerate(frames):
        terminal, received = frame[0].terminal, 7000 + number * 37  # one frame between: it may be a flap
        told = []
        for report in frame:
            is_late = report.is_late or (report.is_plausible and report.at < newest.get(terminal, -1))
            if report.is_plausible and not is_late:
                newest[terminal] = report.at
            told.append(replace(report, terminal=terminal, received=received, is_late=is_late))
        arriving.append(told)
    return arriving


Outcome: TypeAlias = tuple[list[tuple[object, ...]], Counter[tuple[object, ...]], list[int]]


def outcome(frames: list[list[Report]], cuts: list[int]) -> Outcome:
    """Judge the frames in batches, through a snapshot after each; give the alarms with their history, all
    that was seen, and which reports were not read."""
    state, book = AlarmState.empty(4), Book()
    totals: Counter[tuple[object, ...]] = Counter()
    unread, reports = list[int](), 0
    for start, end in zip([0, *cuts], [*cuts, len(frames)], strict=True):
        judgement = judge(state, columns(frames[start:end]))
        book.write(Judgement(judgement.changes, []))
        for each in judgement.seen:
            totals[each.terminal, each.alarm.name, each.object, each.began_us, each.ended_us is None] += (
                each.reports
            )
        unread += [reports + row for row in judgement.unread]
        reports += sum(map(len, frames[start:end]))
        state = AlarmState.from_arrays(state.copy().to_arrays())
    return [book_row(alarm) for alarm in book.sorted()], totals, sorted(unread)


def book_row(alarm: Alarm) -> tuple[object, ...]:
    return (*dataclasses.astuple(alarm)[:-1], sorted(alarm.history))


@st.composite
def cut(draw: st.DrawFn, terminals: int = 3) -> tuple[list[list[Report]], list[int]]:
    frames = draw(reports_of(terminals))
    cuts = draw(st.lists(st.integers(0, len(frames)), max_size=6).map(sorted))
    return frames, cuts


@given(cut())
@settings(max_examples=60)
def test_batches_do_not_matter(story: tuple[list[list[Report]], list[int]]) -> None:
    frames, cuts = story
    whole = outcome(frames, [])
    assert outcome(frames, cuts) == whole
    assert outcome(frames, list(range(1, len(frames)))) == whole
    assert outcome(frames, []) == whole


@given(cut(), st.integers(1, 6))
@settings(max_examples=60)
def test_batches_do_not_matter_where_terminals_change_too_much(
    story: tuple[list[list[Report]], list[int]], most: int
) -> None:
    frames, cuts = story
    with patch.object(bits, "MAX_CHANGES", most):
        whole = outcome(frames, [])
        assert outcome(frames, cuts) == whole
        assert outcome(frames, list(range(1, len(frames)))) == whole


@given(cut(), st.integers(1, 4), st.integers(0, 6), st.integers(1, 2), st.integers(1, 37))
@settings(max_examples=100)
def test_batches_do_not_matter_where_all_change_too_much(
    story: tuple[list[list[Report]], list[int]], own: int, shared: int, places: int, pace: int
) -> None:
    frames, cuts = faster(story[0], pace), story[1]
    with (
        patch.object(bits, "OWN_CHANGES", own),
        patch.object(bits, "SHARED_CHANGES", shared),
        patch.object(bits, "MAX_PLACES", places),
        patch.object(bits, "MAX_CHANGES", 8),
    ):
        whole = outcome(frames, [])
        assert outcome(frames, cuts) == whole
        assert outcome(frames, list(range(1, len(frames)))) == whole


def faster(frames: list[list[Report]], pace: int) -> list[list[Report]]:
    """The same frames, so many seconds of receipt apart."""
    return [
        [replace(report, received=7000 + number * pace) for report in frame]
        for number, frame in enumerate(frames)
    ]


@given(reports_of(4), st.integers(1, 4), st.integers(0, 6), st.integers(1, 37))
@settings(max_examples=100)
def test_changes_of_all_in_a_minute_are_bounded(
    frames: list[list[Report]], own: int, shared: int, pace: int
) -> None:
    frames = faster(frames, pace)
    with patch.object(bits, "OWN_CHANGES", own), patch.object(bits, "SHARED_CHANGES", shared):
        judgement = judge(AlarmState.empty(4), columns(frames))
    made = Counter[tuple[int, int]]()
    for change in judgement.changes:
        for at_us in (change.received_us, *change.again_us, *change.gone_us):
            made[at_us // bits.MINUTE_US, change.terminal] += 1
    one_report = 12  # ends and raises each of six bits
    for minute in {minute for minute, _ in made}:
        beyond = [count - own for (when, _), count in made.items() if when == minute and count > own]
        assert sum(beyond) <= shared + len(beyond) * one_report
    rows = [report for frame in frames for report in frame]
    for report in (rows[row] for row in judgement.unread):
        minute = columns([[report]]).received_us.item() // bits.MINUTE_US
        assert made[minute, report.terminal] >= own, "nobody loses what is its own"


@given(reports_of(3))
@settings(max_examples=60)
def test_terminals_do_not_disturb_each_other(frames: list[list[Report]]) -> None:
    together, seen, _ = outcome(frames, [])
    for terminal in range(3):
        alone, seen_alone, _ = outcome([frame for frame in frames if frame[0].terminal == terminal], [])
        assert alone == [alarm for alarm in together if alarm[0] == terminal]
        assert seen_alone == Counter({key: count for key, count in seen.items() if key[0] == terminal})


@given(reports_of(2))
@settings(max_examples=60)
def test_the_database_never_holds_two_of_one(frames: list[list[Report]]) -> None:
    state, book = AlarmState.empty(2), Book()
    for frame in frames:
        book.write(judge(state, columns([frame])))  # asserts its indexes
    for alarm in book.alarms:
        assert alarm.on_desk or alarm.ended_us is not None, "history is never open"


@given(reports_of(2))
@settings(max_examples=60)
def test_late_reports_leave_live_alarms_alone(frames: list[list[Report]]) -> None:
    def live(frames: list[list[Report]]) -> Counter[tuple[object, ...]]:
        state = AlarmState.empty(2)
        found = Counter[tuple[object, ...]]()
        for frame in frames:
            for change in judge(state, columns([frame])).changes:
                if change.is_late:
                    continue
                key = change.terminal, change.alarm.name
                found[*key, change.change, change.received_us] += 1
                found.update((*key, Change.RAISED, at_us) for at_us in change.again_us)
                found.update((*key, Change.ENDED, at_us) for at_us in change.gone_us)
        return found

    without = [kept for frame in frames if (kept := [report for report in frame if not report.is_late])]
    assert live(frames) == live(without)


@given(reports_of(1, late=False))
@settings(max_examples=60)
def test_live_alarms_are_the_edges(frames: list[list[Report]]) -> None:
    """A second reading, as simple as it can be: of plain reports of one edition without places."""
    plain = [
        [replace(frame[0], at=number, edition=1, places=(0, 0, 0), is_late=False, is_plausible=True)]
        for number, frame in enumerate(frames)
    ]
    state = AlarmState.empty(1)
    changes = [change for frame in plain for change in judge(state, columns([frame])).changes]
    expected, before = [], 0
    for (report,) in plain:
        word = report.word
        expected += [(Change.ENDED, bit) for bit in (1, 5, 29) if before & ~word & 1 << bit]
        expected += [(Change.RAISED, bit) for bit in (0, 1, 3, 5, 20, 29) if word & ~before & 1 << bit]
        before = word
    assert [(change.change, change.alarm.bit) for change in changes] == expected


@given(reports_of(1))
@settings(max_examples=60)
def test_no_emergency_is_lost(frames: list[list[Report]]) -> None:
    state, book = AlarmState.empty(1), Book()
    for frame in frames:
        book.write(judge(state, columns([frame])))
    pressed = any(report.word & 1 for frame in frames for report in frame)
    told = [alarm for alarm in book.alarms if alarm.condition == "emergency"]
    assert bool(told) == pressed
    assert all(alarm.on_desk and alarm.ended_us is None for alarm in told)


@given(frames=reports_of(1), handles=st.lists(st.booleans(), min_size=25, max_size=25))
@example(
    frames=[
        [Report(0, 0, 7000, 0)],
        [Report(0, 300, 7037, 1, is_late=True)],
        [Report(0, 600, 7074, 1)],
    ],
    handles=[False, True, False],
)
@settings(max_examples=60)
def test_no_emergency_is_lost_beside_one_that_was_handled(
    frames: list[list[Report]], handles: list[bool]
) -> None:
    """Whatever operators have handled, live or late: who presses the button now is on the desk now, unless it
    is the press that was handled; and a stored press is known to the desk, or was.
    """
    state, book, before = AlarmState.empty(1), Book(), 0
    for number, (frame, does_handle) in enumerate(zip(frames, handles, strict=False)):
        book.write(judge(state, columns([frame])))
        told = [alarm for alarm in book.alarms if alarm.condition == "emergency"]
        for report in frame:
            if report.word & 1:
                assert told and all(alarm.on_desk for alarm in told)
        live = [report for report in frame if not report.is_late]
        for report in sorted(live, key=lambda each: columns([[each]]).at_us.item()):
            if report.word & ~before & 1:
                at_us = columns([[report]]).at_us.item()
                assert any(not alarm.handled or alarm.began_us == at_us for alarm in told)
            before = report.word
        for alarm in told if does_handle else ():
            book.handle(alarm, number)


STEP = 30


@st.composite
def journeys(draw: st.DrawFn) -> tuple[list[bool], list[list[Report]]]:
    """What happened, one step after the other (whether the button's bit was set), and how it arrives: some
    stretches without a link come later as stored reports, in one frame or several, before or after the live
    reports that follow."""
    pressed = draw(st.lists(st.booleans(), min_size=2, max_size=30))
    frames: list[list[Report]] = []
    stored: list[Report] = []
    delay = 0
    for step, word in enumerate(pressed):
        plain = Report(0, step * STEP, 0, int(word))
        if draw(st.booleans()) if not stored else delay < 0:
            stored.append(replace(plain, is_late=True))
            delay = draw(st.sampled_from([-1, -1, 0, 1, 2]))
            continue
        if stored and delay == 0:
            cut = draw(st.integers(0, len(stored)))
            frames += [part for part in (stored[:cut], stored[cut:]) if part]
            stored = []
        delay -= bool(stored)
        frames.append([plain])
    frames += [stored] if stored else []
    return pressed, [[replace(r, received=(len(pressed) + 1) * STEP) for r in frame] for frame in frames]


@given(journeys())
@settings(max_examples=60)
def test_an_operator_hears_of_every_press(journey: tuple[list[bool], list[list[Report]]]) -> None:
    """Even one who handles every alarm at once. A press is a stretch of reports with the bit.

    One is not told apart from the press before: it begins with a live report right after a gap, and the last
    live report before that gap had the bit as well.
    """
    pressed, frames = journey
    live = {report.at // STEP for frame in frames for report in frame if not report.is_late}
    state, told = AlarmState.empty(1), set()
    for frame in frames:
        for change in judge(state, columns([frame])).changes:
            assert change.change is Change.RAISED and change.on_desk
            told.add(seconds(change.began_us) // STEP)
    for step, now in enumerate(pressed):
        if now and (step == 0 or not pressed[step - 1]):
            end = [*pressed[step:], False].index(False) + step
            if (
                step in live
                and step - 1 not in live
                and pressed[max(live & set(range(step)), default=step - 1)]
            ):
                continue
            assert told & set(range(step, end)), f"the press of steps {step}–{end} was lost; told {told}"


def toggling(reports: int, word: int, *, at: int = 0) -> list[list[Report]]:
    """One terminal that sets and clears a word in turn, ten times a second."""
    return [[Report(0, at + n, at + n // 10, word * (n % 2 == 0))] for n in range(reports)]


def test_a_flapping_bit_is_few_changes_however_often_it_flaps() -> None:
    counts = []
    for reports in (1_000, 2_000, 4_000):
        state = AlarmState.empty(1)
        judgement = judge(state, columns(toggling(reports, 0b10)))
        (alarm,) = book_of(judgement).alarms
        assert len(judgement.changes) <= 3
        assert alarm.reports == (reports - len(judgement.unread)) / 2
        counts.append(len(judgement.changes))
    assert len(set(counts)) == 1


def test_a_terminal_is_read_no_further_in_a_minute_than_its_changes_go() -> None:
    state = AlarmState.empty(2)
    frames = toggling(600, 0xFFFF_FFFF)
    frames += [[Report(1, 0, 0, 1)]]
    judgement = judge(state, columns(frames))
    made = sum(1 + len(each.again_us) + len(each.gone_us) for each in judgement.changes)
    assert made <= 2 * (MAX_CHANGES + 64), "that is one minute, and a part of the next"
    assert judgement.unread and 600 not in judgement.unread, "the other terminal is read"
    # In the next minute it is read again, and what it says then counts.
    book = book_of(judgement)
    book.write(judge(state, columns([[Report(0, 700, 700, 0b10)]])))
    standing = [alarm.condition for alarm in book.alarms if alarm.terminal == 0 and alarm.ended_us is None]
    assert "overspeed" in standing and "power_lost" not in standing


def test_an_emergency_is_heard_though_its_report_was_not_read() -> None:
    state, book = AlarmState.empty(1), Book()
    begin = 40  # of a minute, in seconds of the story
    toggles = [[Report(0, n, begin, n % 2 << 1)] for n in range(MAX_CHANGES + 1)]
    pressed = [[Report(0, 600, begin + 1, 1)], [Report(0, 601, begin + 2, 0)]]
    for frames in (toggles, pressed):
        book.write(judge(state, columns(frames)))
    assert not any(alarm.condition == "emergency" for alarm in book.alarms)
    book.write(judge(state, columns([[Report(0, 660, begin + 61, 0)]])))
    assert [str(alarm) for alarm in book.alarms if alarm.condition == "emergency"] == ["emergency 660–"]


def invented_places(terminals: int, reports: int) -> list[list[Report]]:
    """Terminals that speed in another area with every report, in turn, within a second."""
    return [[Report(n, m, 0, 0b10, places=speeding(m + 1))] for m in range(reports) for n in range(terminals)]


def test_invented_places_do_not_fill_the_desk() -> None:
    speeds = invented_places(1, 200)
    alternates = [[Report(0, m, 0, 0b10, places=speeding(m % 2 + 1))] for m in range(200)]
    enters = [[Report(0, m, 0, 1 << 20, places=crossing(m + 1, 0))] for m in range(200)]
    for frames in (speeds, alternates, enters):
        judgement = judge(AlarmState.empty(1), columns(frames))
        assert not judgement.unread and len(book_of(judgement).alarms) == MAX_PLACES


def test_after_too_many_places_a_terminal_names_none_for_a_minute() -> None:
    state, book = AlarmState.empty(1), Book()

    def standing(*reports: Report) -> list[str]:
        book.write(judge(state, columns([[report] for report in reports])))
        return [f"{each.condition} {each.object}" for each in book.alarms if each.ended_us is None]

    last = f"overspeed polygon:{MAX_PLACES}"
    assert standing(*(frame[0] for frame in invented_places(1, 200))) == [last]
    assert standing(Report(0, 300, 1, 0), Report(0, 301, 1, 0b10, places=speeding(900))) == [last], (
        "it is back"
    )
    assert standing(Report(0, 360, 61, 0b10, places=speeding(901))) == ["overspeed polygon:901"]

    entered = [Report(0, 400 + m, 61, 1 << 20 if m % 2 else 0, places=crossing(m, 0)) for m in range(200)]
    named = {each for each in standing(*entered) if each.startswith("area")}
    assert len(named) == MAX_PLACES + 1 and "area_crossed " in named


def test_many_that_change_too_much_leave_room_for_each() -> None:
    terminals = 400
    state = AlarmState.empty(terminals + 1_000)
    wild = [[Report(n, m, 0, m % 2 << 1)] for m in range(100) for n in range(terminals)]
    judgement = judge(state, columns(wild))
    made = sum(1 + len(each.again_us) + len(each.gone_us) for each in judgement.changes)
    assert made == terminals * OWN_CHANGES + SHARED_CHANGES and judgement.unread
    # What strikes a whole fleet in the same minute is heard of everyone.
    honest = range(terminals, terminals + 1_000)
    cut_off = [[Report(n, at, 1, word)] for at, word in ((100, 0b11 << 7), (110, 0)) for n in honest]
    judgement = judge(state, columns(cut_off))
    assert not judgement.unread
    assert Counter(change.terminal for change in judgement.changes) == dict.fromkeys(honest, 4)
    # A minute later the wild ones are read again.
    judgement = judge(state, columns([[Report(n, 160, 61, 1)] for n in range(terminals)]))
    assert not judgement.unread and {each.terminal for each in judgement.changes} == set(range(terminals))


def book_of(judgement: Judgement) -> Book:
    book = Book()
    book.write(judgement)
    return book


def test_the_state_grows_and_is_copied_and_kept() -> None:
    state = AlarmState.empty(1)
    judge(state, columns([[Report(0, 0, 0, 0b11)]]))
    kept = state.copy()
    state.grow(3)
    judge(state, columns([[Report(2, 5, 5, 1)], [Report(0, 5, 5, 0)]]))
    assert len(state) == 3 and len(kept) == 1
    assert state.keys.tolist() == [0, 1, 64]
    assert kept.episode(1).ended_us == NEVER and state.episode(1).ended_us != NEVER
    again = AlarmState.from_arrays(state.to_arrays())
    assert all((again.to_arrays()[name] == value).all() for name, value in state.to_arrays().items())


def test_an_empty_batch_changes_nothing() -> None:
    state = AlarmState.empty(1)
    assert judge(state, columns([])).changes == []


def test_object_names() -> None:
    assert object_name(0) == ""
    assert object_name(speeding(4_294_967_295)[0]) == "polygon:4294967295"
