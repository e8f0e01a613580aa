"""Alarm and status bits: each edition's own meaning, and who ends an alarm."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.edition import Edition, edition_of, registered_edition
from protocol.frame import Frame
from protocol.messages import encode_body
from protocol.words import ALARMS, STATUSES, Ends, alarms_in, reserved_in, states_in

WORDS = st.integers(0, 2**32 - 1)
E2011, E2013, E2019 = Edition


def named(edition: Edition, bit: int) -> str | None:
    return ALARMS[edition][bit].name if bit in ALARMS[edition] else None


@pytest.mark.parametrize(
    ("bit", "in_2011", "in_2013", "in_2019"),
    [
        (3, "danger_warning", "danger_warning", "dangerous_driving"),
        (12, None, "ic_card_fault", "ic_card_fault"),
        (13, None, "overspeed_warning", "overspeed_warning"),
        (15, None, None, "forbidden_driving"),
        (16, None, None, "tyre_pressure_warning"),
        (17, None, None, "right_turn_blind_zone"),
        (29, None, "collision_warning", "collision"),
        (30, None, "rollover_warning", "rollover_warning"),
        (31, None, "illegal_door_opening", None),
    ],
)
def test_bits_that_change_between_editions(bit: int, in_2011: Any, in_2013: Any, in_2019: Any) -> None:
    assert [named(edition, bit) for edition in Edition] == [in_2011, in_2013, in_2019]


def test_bits_cleared_by_the_answer_end_by_the_operator() -> None:
    """808-2011 table 18, 808-2013 table 24, 808-2019 table 25: 收到应答后清零."""

    def by_operator(edition: Edition) -> set[int]:
        return {bit for bit, alarm in ALARMS[edition].items() if alarm.ends is Ends.BY_OPERATOR}

    assert by_operator(E2011) == {0, 3, 20, 21, 22, 27, 28}
    assert by_operator(E2013) == {0, 3, 20, 21, 22, 27, 28, 31}
    assert by_operator(E2019) == {0, 20, 21, 22, 27, 28}


def test_bits_that_0x8203_confirms() -> None:
    for edition in Edition:
        confirmable = {bit for bit, alarm in ALARMS[edition].items() if alarm.confirmable}
        assert confirmable == {0, 3, 20, 21, 22, 27, 28}


def test_bits_that_are_equipment_faults() -> None:
    faults = {bit for bit, alarm in ALARMS[E2013].items() if alarm.is_fault}
    assert faults == {4, 5, 6, 7, 8, 9, 10, 11, 12, 24}


def test_a_name_means_one_thing() -> None:
    for edition in Edition:
        names = [alarm.name for alarm in ALARMS[edition].values()]
        assert len(set(names)) == len(names)
    for name in {alarm.name for edition in Edition for alarm in ALARMS[edition].values()}:
        rows = [alarm for edition in Edition for alarm in ALARMS[edition].values() if alarm.name == name]
        assert len({(row.bit, row.ends, row.severity) for row in rows}) == 1


@given(WORDS, st.sampled_from(Edition))
def test_every_bit_is_named_or_reserved(word: int, edition: Edition) -> None:
    named_bits = sum(1 << alarm.bit for alarm in alarms_in(word, edition))
    assert named_bits | reserved_in(word, edition) == word
    assert named_bits & reserved_in(word, edition) == 0


def test_status_words() -> None:
    states = states_in(0x0004_0303, E2013)
    assert (states["acc_on"], states["positioned"], states["load"], states["gps_used"]) == (1, 1, 3, 1)
    assert (states["out_of_service"], states["south"]) == (0, 0)
    assert {6, 7, 22} & set(STATUSES[E2013]) == set() and {6, 7, 22} <= set(STATUSES[E2019])
    assert set(STATUSES[E2011]) == {0, 1, 2, 3, 4, 5, 10, 11, 12}


def registration(edition: Edition, plate: str) -> Frame:
    texts = {"manufacturer_id": "NW", "terminal_model": "M", "terminal_id": "1"}
    fields = {"province_id": 21, "city_id": 100, "plate_color": 2, "plate_number": plate} | texts
    version = 1 if edition is E2019 else None
    raw_id = bytes(10 if version else 6)
    return Frame(0x0100, raw_id, 0, encode_body(0x0100, edition, fields), version)


@pytest.mark.parametrize("edition", Edition)
@pytest.mark.parametrize("plate", ["辽A12345", "", "辽AD12345", "WJ辽1234X"])
def test_a_registration_tells_its_edition(edition: Edition, plate: str) -> None:
    for known in (None, *Edition):
        assert edition_of(registration(edition, plate), known) is edition


def test_other_messages_have_the_edition_that_the_terminal_registered_with() -> None:
    heartbeat = Frame(0x0002, bytes(6), 0, b"")
    assert edition_of(heartbeat) is E2013
    assert edition_of(heartbeat, E2011) is E2011
    assert edition_of(heartbeat, E2019) is E2013  # the header is what the terminal says now
    assert edition_of(Frame(0x0002, bytes(10), 0, b"", version=1), E2011) is E2019
    assert [registered_edition(length) for length in (25, 36, 37, 45)] == [E2011, E2011, E2013, E2013]
