"""Which silences become tickets, which become one incident, and what closes a ticket."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tickets.fleet import (
    ALLOWED,
    DEREGISTER,
    EPOCH_US,
    HEARTBEAT,
    LOCATION,
    POLICY,
    SECOND,
    Fleet,
    Said,
    Truck,
)
from tickets.policy import SILENT, WITHOUT_CODE, Reason, TicketState, sentence
from tickets.silence import NEVER, SilenceState


def truck() -> Truck:
    return Fleet().truck()


def column(trucks: int, every: int = 10) -> Fleet:
    """A fleet on the road, heard every few seconds, not all in the same second."""
    fleet = Fleet()
    for number in range(trucks):
        fleet.truck().drives().keeps_on(every + number % 3)
    return fleet.run(until=30)


# tickets


def test_a_silence_that_lasts_becomes_one_ticket() -> None:
    t = truck()
    t.fleet.run(until=1)
    t.drives()
    assert t.fleet.run(until=91).story == []
    assert t.fleet.run(until=92).story == ["92 ticket 0 silent_moving"]
    assert t.fleet.run(until=3000).story == ["92 ticket 0 silent_moving"]


def test_a_tunnel_becomes_none() -> None:
    t = truck()
    for at in range(0, 1000, 85):
        t.at(at).drives()
    assert t.fleet.story == []


def test_a_ticket_says_why() -> None:
    t = truck()
    t.fleet.run(until=1)
    t.drives(alarms=1 << 8)
    (reason,) = t.fleet.run(until=100).reasons
    assert dict(reason.params) == {
        "silent_s": 91,
        "allowed_s": 60,
        "since": "2025-10-09 16:53:21 (UTC+8)",
        "power_lost": 1,
    }
    assert sentence(reason) == (
        "Nothing was heard for 1 min 31 s, since 2025-10-09 16:53:21 (UTC+8); it was driving or had its"
        " ignition on and should have spoken within 1 min. Its main power was low or lost before."
    )


def test_three_good_reports_close_it() -> None:
    t = truck()
    t.drives().at(200).drives().at(205).drives().at(210)
    assert len(t.fleet.story) == 1
    t.drives().at(211)
    assert t.fleet.story[1:] == ["211 closed 0 reports_again"]
    assert sentence(t.fleet.reasons[1]).startswith("It reports again: 3 good location reports since 2025-")


def test_talking_on_closes_it_without_a_fix() -> None:
    t = truck()
    t.drives().at(200).beats().keeps_on(every=20)
    t.fleet.run(until=400)
    assert t.fleet.story[1:] == ["300 closed 0 talks_again"]


def test_a_single_sign_of_life_proves_nothing() -> None:
    t = truck()
    t.drives().at(200).drives()
    t.fleet.run(until=1000)
    # the database knows whether the first ticket is still open; if it is, this is the same fault
    assert t.fleet.story == ["92 ticket 0 silent_moving", "291 ticket 0 silent_moving"]


def test_proof_counts_from_the_last_silence() -> None:
    t = truck()
    t.drives().at(200).drives().at(205).drives().at(400).drives()
    t.fleet.run(until=410)
    assert not any("closed" in event for event in t.fleet.story)


def test_reports_before_the_ticket_prove_nothing() -> None:
    t = truck()
    for at in range(0, 50, 5):
        t.at(at).drives()
    t.fleet.run(until=200)
    t.beats().at(210)
    assert t.fleet.story == ["136 ticket 0 silent_moving"]


@pytest.mark.parametrize(
    ("spoken_at", "fault"),
    [
        (None, SILENT),
        (10, SILENT),  # before its last word
        (40, WITHOUT_CODE),
        (75, WITHOUT_CODE),  # when it was silent already
        (105, SILENT),  # the ticket was open
    ],
)
@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
def test_what_only_speaks_without_its_code_is_not_called_silent(
    spoken_at: int | None, fault: str, again: bool
) -> None:
    t = truck()
    t.at(10).drives()
    if spoken_at is not None:
        t.at(spoken_at).speaks_without_code()
    t.fleet.run(until=150)
    assert t.fleet.silent == [0], "it does not keep it from being looked at"
    if again:  # it is the same ticket, until it is proved
        t.drives().at(300).speaks_without_code()
    t.at(400).drives().keeps_on()
    t.fleet.run(until=460)
    opened = [each.fault for decided in t.fleet.decisions for each in decided.opened]
    closed = [each.fault for decided in t.fleet.decisions for each in decided.closed]
    assert opened == [fault] * (2 if again else 1) and closed == [fault]
    if fault == WITHOUT_CODE:
        assert sentence(t.fleet.reasons[0]).startswith("It speaks without its code; nothing else was heard")


def test_our_own_outage_opens_no_ticket() -> None:
    fleet = column(30)
    fleet.stall(until=4000)
    fleet.run(until=6000)
    assert fleet.story == []


def test_an_outage_on_top_of_a_silence_gives_time_to_come_back() -> None:
    t = truck()
    t.drives().at(70)
    assert t.fleet.silent == [0]
    t.fleet.stall(until=500)
    assert t.fleet.run(until=559).story == []
    assert t.fleet.run(until=560).story == ["560 ticket 0 silent_moving"]


def test_blocking_a_terminal_stops_its_ticket() -> None:
    t = truck()
    t.drives().at(70)
    t.fleet.silence.blocked[0] = True
    assert t.fleet.run(until=300).story == []


# mass gate


def silence(fleet: Fleet, trucks: range) -> None:
    for number in trucks:
        fleet.trucks[number].stops()


def wake(fleet: Fleet, trucks: range) -> None:
    for number in trucks:
        fleet.trucks[number].keeps_on(10)


def test_many_at_once_are_one_incident_and_no_ticket() -> None:
    fleet = column(30)
    silence(fleet, range(20))
    fleet.run(until=1000)
    assert len(fleet.story) == 1 and "incident" in fleet.story[0] and "mass_silence" in fleet.story[0]
    wake(fleet, range(20))
    fleet.run(until=1100)
    assert fleet.story[1].endswith("/20 mass_over")
    assert not any("ticket" in event for event in fleet.run(until=2000).story)


def test_survivors_of_an_incident_are_judged_again() -> None:
    fleet = column(30)
    silence(fleet, range(20))
    fleet.run(until=1000)
    wake(fleet, range(2, 20))
    fleet.run(until=2000)
    over = next(event for event in fleet.story if "mass_over" in event)
    tickets = [event for event in fleet.story if "ticket" in event]
    assert [event.split()[2] for event in tickets] == ["0", "1"]
    # they had the time to come back, and dwell
    assert int(tickets[0].split()[0]) == int(over.split()[0]) + 60 + 30


def test_who_spoke_after_it_began_is_not_part_of_an_incident() -> None:
    fleet = column(30)
    silence(fleet, range(20))
    fleet.run(until=500)
    silence(fleet, range(25, 26))
    fleet.run(until=1000)
    assert [event.split(maxsplit=1)[1] for event in fleet.story[1:]] == ["ticket 25 silent_moving"]


def test_the_slower_ones_of_the_same_outage_join_it() -> None:
    fleet = column(30)
    for number in range(20, 30):
        fleet.trucks[number].stops().parks()
    silence(fleet, range(20))
    fleet.run(until=3000)
    assert len(fleet.story) == 1
    assert fleet.tickets.incident_height == 30


def test_a_ticket_closes_on_proof_during_an_incident() -> None:
    fleet = column(30)
    fleet.trucks[29].stops()
    fleet.run(until=200)
    silence(fleet, range(20))
    fleet.run(until=400)
    wake(fleet, range(29, 30))
    fleet.run(until=500)
    events = [event.split()[1] for event in fleet.story]
    assert events == ["ticket", "incident", "closed"]


def test_a_few_are_no_mass_however_small_the_fleet() -> None:
    fleet = column(6)
    silence(fleet, range(4))
    fleet.run(until=1000)
    assert [event.split()[1] for event in fleet.story] == ["ticket"] * 4


def test_a_small_fleet_that_is_silent_as_a_whole_is_an_incident() -> None:
    fleet = column(6)
    fleet.policy = replace(POLICY, mass_least=10)
    silence(fleet, range(6))
    fleet.run(until=1000)
    assert [event.split()[1] for event in fleet.story] == ["incident"]
    wake(fleet, range(5))
    fleet.run(until=2000)
    assert [event.split()[1] for event in fleet.story] == ["incident", "over", "ticket"]


def test_tickets_from_before_an_incident_are_not_asked_for_twice() -> None:
    fleet = column(30)
    for number in range(8):  # one after the other: the first ones have their ticket when it becomes a mass
        silence(fleet, range(number, number + 1))
        fleet.run(until=fleet.now + 7)
    fleet.run(until=1000)
    wake(fleet, range(4, 8))
    fleet.run(until=4000)
    asked = [event.split()[2] for event in fleet.story if "ticket" in event]
    assert len(asked) == len(set(asked))


# reasons


DURATIONS = [
    (0, "0 s"),
    (59, "59 s"),
    (60, "1 min"),
    (61, "1 min 1 s"),
    (3661, "1 h 1 min"),
    (93_600, "1 d 2 h"),
]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations(seconds: int, text: str) -> None:
    reason = Reason("mass_over", {"terminals": 2, "survivors": 1, "lasted_s": seconds})
    assert sentence(reason) == f"1 of 2 terminals are still silent after {text}."


def test_an_unknown_reason_has_no_sentence() -> None:
    with pytest.raises(ValueError, match="moonshine"):
        sentence(Reason("moonshine"))


# for any story


Event = tuple[str, Any]


def stories() -> st.SearchStrategy[list[Event]]:
    """Frames of eight terminals, pauses with ticks, stalls and restarts."""
    said = st.builds(
        Said,
        terminal=st.integers(0, 7),
        at=st.just(0.0),
        msg_id=st.sampled_from([LOCATION, LOCATION, LOCATION, HEARTBEAT, DEREGISTER]),
        authenticated=st.sampled_from([True, True, False]),
        status=st.sampled_from([0, 1, 1, 1, 1 << 4]),
        io_state=st.sampled_from([-1, 0, 1]),
    )
    return st.lists(
        st.one_of(
            st.tuples(st.just("frames"), st.lists(said, min_size=1, max_size=8)),
            st.tuples(st.just("ticks"), st.integers(1, 100)),
            st.tuples(st.just("ticks"), st.integers(1, 100)),
            st.tuples(st.sampled_from(["stall"]), st.integers(6, 400)),
            st.tuples(st.just("restart"), st.just(0)),
        ),
        max_size=20,
    )


def play(events: list[Event], *, piecemeal: bool = False, snapshots: bool = False) -> Fleet:
    fleet = Fleet()
    for _ in range(8):
        fleet.truck()
    for kind, value in events:
        if kind == "frames":
            frames = [Said(**{**_fields(each), "at": fleet.now}) for each in value]
            for part in [[each] for each in frames] if piecemeal else [frames]:
                fleet.hear(*part)
        elif kind == "ticks":
            fleet.run(until=fleet.now + value)
        elif kind == "stall":
            fleet.stall(until=fleet.now + value)
        else:
            fleet.restart()
        if snapshots:
            fleet.silence = SilenceState.from_arrays(kept(fleet.silence.to_arrays()))
            fleet.tickets = TicketState.from_arrays(kept(fleet.tickets.to_arrays()))
    return fleet


def _fields(said: Said) -> dict[str, Any]:
    return {name: getattr(said, name) for name in said.__dataclass_fields__}


def kept(arrays: dict[str, Any]) -> dict[str, Any]:
    """Write a snapshot and read it."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file) as stored:
        return dict(stored)


@given(stories())
@settings(max_examples=40, deadline=None)
def test_batches_snapshots_and_replays_do_not_matter(events: list[Event]) -> None:
    story = play(events).story
    assert play(events).story == story
    assert play(events, piecemeal=True).story == story
    assert play(events, snapshots=True).story == story


@given(stories())
@settings(max_examples=40, deadline=None)
def test_no_ticket_without_a_reason(events: list[Event]) -> None:
    """A ticket is about a terminal that was expected to speak, did not for its time and the dwell, while we
    listened."""
    fleet = Fleet()
    for _ in range(8):
        fleet.truck()
    heard: dict[int, int] = {}
    listening = 0
    for kind, value in events:
        if kind == "frames":
            fleet.hear(*(Said(**{**_fields(each), "at": fleet.now}) for each in value))
            heard.update({each.terminal: fleet.now for each in value})
            continue
        if kind == "ticks":
            fleet.run(until=fleet.now + value)
        elif kind == "stall":
            listening = fleet.now + value
            fleet.stall(until=listening)
        else:
            listening = fleet.now
            fleet.restart()
        for decided in fleet.decisions:
            for opened in decided.opened:
                at = (opened.at_us - EPOCH_US) // SECOND
                allowed = int(opened.reason.params["allowed_s"])
                assert allowed in (60, 300, 900)
                assert at - heard[opened.terminal] >= allowed + POLICY.dwell_s
                assert at - listening >= allowed
                assert fleet.silence.authenticated[opened.terminal]
        fleet.decisions.clear()


def test_the_state_grows_and_is_copied() -> None:
    state = TicketState.empty(1)
    state.due_us[0] = 5
    copy = state.copy()
    copy.grow(3)
    copy.due_us[0] = 6
    assert state.due_us.tolist() == [5] and copy.due_us.tolist() == [6, NEVER, NEVER]
    assert len(copy) == 3


def test_a_policy_names_its_times() -> None:
    assert ALLOWED.allowed_us()[1] == 60 * SECOND
