"""Who is silent, and who only has nothing to say."""

import numpy as np
import pytest

from protocol.words import ACC_ON
from tests.tickets.fleet import REGISTER, Fleet, Said, Truck, batch
from tickets.silence import MOVING_BIT_2019, NEVER, Mode, SilenceState, modes, observe


def truck() -> Truck:
    return Fleet().truck()


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        (Said(0, 0, status=ACC_ON), Mode.MOVING),
        (Said(0, 0, status=0, speed_kmh=30), Mode.MOVING),
        (Said(0, 0, status=0, speed_kmh=3), Mode.PARKED),
        (Said(0, 0, status=MOVING_BIT_2019, is_2019=True), Mode.MOVING),
        (Said(0, 0, status=MOVING_BIT_2019, is_2019=False), Mode.PARKED),
        (Said(0, 0, status=0), Mode.PARKED),
        (Said(0, 0, status=0, io_state=0), Mode.PARKED),
        (Said(0, 0, status=0, io_state=0b01), Mode.ASLEEP),
        (Said(0, 0, status=0, io_state=0b10), Mode.ASLEEP),
        (Said(0, 0, status=0, io_state=0b100), Mode.PARKED),
        (Said(0, 0, status=ACC_ON, io_state=0b11), Mode.MOVING),
        (Said(0, 0, status=ACC_ON | 1 << 4), Mode.OUT_OF_SERVICE),
    ],
)
def test_modes(said: Said, mode: Mode) -> None:
    assert modes(batch([said])[1]).tolist() == [mode]


def test_silence_is_judged_by_mode() -> None:
    fleet = Fleet()
    fleet.run(until=1)
    fleet.truck().drives()
    fleet.truck().parks()
    fleet.truck().sleeps()
    fleet.run(until=61)
    assert fleet.silent == []
    fleet.run(until=62)
    assert fleet.silent == [0]
    fleet.run(until=302)
    assert fleet.silent == [0, 1]
    fleet.run(until=902)
    assert fleet.silent == [0, 1, 2]


def test_any_frame_is_a_sign_of_life() -> None:
    t = truck()
    t.drives().beats().keeps_on(every=50)
    t.fleet.run(until=600)
    assert t.fleet.silent == []
    assert t.fleet.silence.mode[0] == Mode.MOVING, "a heartbeat says nothing about the vehicle"


def test_a_terminal_without_a_fix_is_not_silent() -> None:
    t = truck()
    t.drives(has_fix=False).keeps_on(every=50)
    assert t.fleet.run(until=600).silent == []


def test_back_is_whoever_is_heard() -> None:
    t = truck()
    t.drives().at(100).beats()
    assert t.fleet.silent == [0]
    assert t.fleet.run(until=101).silent == []


@pytest.mark.parametrize(
    "excuse",
    [
        lambda t: t.says(authenticated=False),
        lambda t: t.drives().deregisters(),
        lambda t: t.drives().rests(),
        lambda t: t.beats(),
    ],
    ids=["never authenticated", "deregistered", "out of service", "never reported"],
)
def test_nobody_expects_these_to_speak(excuse: object) -> None:
    t = truck()
    excuse(t)  # type: ignore[operator]
    t.fleet.run(until=2000)
    assert t.fleet.silent == [] and t.fleet.story == []


def test_who_authenticated_once_is_judged() -> None:
    t = truck()
    t.says(msg_id=REGISTER, authenticated=True).drives(authenticated=False)
    assert t.fleet.run(until=100).silent == [0]


def test_a_blocked_terminal_is_excused() -> None:
    t = truck()
    t.drives().at(100)
    assert t.fleet.silent == [0]
    t.fleet.silence.blocked[0] = True
    assert t.fleet.run(until=101).silent == []


def test_a_stranger_cannot_deregister_a_terminal_that_authenticates() -> None:
    t = truck()
    t.drives().says(msg_id=0x0003, authenticated=False)
    assert t.fleet.run(until=600).silent == [0]


def test_a_deregistered_terminal_that_reports_again_is_judged_again() -> None:
    t = truck()
    t.drives().deregisters().at(500).drives()
    assert t.fleet.run(until=600).silent == [0]


def test_the_last_of_a_batch_decides() -> None:
    state = SilenceState.empty(2)
    observe(state, *batch([Said(0, 0), Said(0, 1, msg_id=3), Said(1, 2, msg_id=3), Said(1, 3)]))
    assert state.mode.tolist() == [Mode.DEREGISTERED, Mode.MOVING]


def test_our_own_stall_makes_nobody_silent() -> None:
    t = truck()
    t.drives().at(30)
    t.fleet.stall(until=400)
    assert t.fleet.silent == []
    assert t.fleet.run(until=460).silent == []
    assert t.fleet.run(until=461).silent == [0]


def test_a_clock_set_back_makes_nobody_silent() -> None:
    t = truck()
    t.fleet.run(until=400)
    t.drives()
    t.fleet.stall(until=100).run(until=459)
    assert t.fleet.silent == []


def test_a_restart_gives_everybody_time_to_come_back() -> None:
    t = truck()
    t.drives().at(50).fleet.restart()
    assert t.fleet.run(until=110).silent == []
    assert t.fleet.run(until=111).silent == [0]


def test_the_first_tick_judges_nobody() -> None:
    t = truck()
    t.drives()
    t.fleet.stall(until=1_000_000)
    assert t.fleet.silent == []


def test_the_state_grows_and_is_kept() -> None:
    t = truck()
    t.drives().at(100)
    state = t.fleet.silence
    again = SilenceState.from_arrays(state.to_arrays())
    assert again.tick_us == state.tick_us and type(again.tick_us) is int
    again.grow(5)
    again.grow(2)
    assert len(again) == 5 and len(state) == 1
    assert again.heard_us.tolist()[1:] == [NEVER] * 4
    again.silent_since_us[0] = NEVER
    assert state.is_silent[0] and not again.is_silent[0]


def test_a_missing_array_is_another_version() -> None:
    arrays = SilenceState.empty(1).to_arrays()
    del arrays["mode"]
    with pytest.raises(KeyError, match="mode"):
        SilenceState.from_arrays(arrays)


def test_mode_names_are_those_of_the_database() -> None:
    names = {"unknown", "moving", "parked", "asleep", "out_of_service", "deregistered"}
    assert {mode.text for mode in Mode} == names
    assert SilenceState.empty(1).mode.dtype == np.uint8
