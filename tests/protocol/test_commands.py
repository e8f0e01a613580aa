"""Which answer completes which command."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.commands import (
    COMMANDS,
    GENERAL,
    NEXT,
    By,
    Command,
    Event,
    Outstanding,
    State,
    command_of,
    meaning,
    wait_s,
)
from protocol.edition import Edition
from protocol.frame import SERIALS
from protocol.message import DOWN, TERMINAL_REPLY, UP, decode_body, encode_body
from protocol.messages import MESSAGES

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def reply(command: Command, serial: int, result: int = 0) -> dict[str, Any]:
    return {"ack_serial": serial, "ack_msg_id": command.id, "result": result}


def test_every_message_that_wants_an_answer_is_a_command_and_no_other() -> None:
    wanting = {each.id for each in MESSAGES.values() if each.direction is DOWN and each.answer}
    assert COMMANDS.keys() == wanting
    for command in COMMANDS.values():
        declared = MESSAGES[command.id].answer
        named = {answer.msg_id for stage in command.stages for answer in stage}
        assert declared in named, f"{command.id:#06x}"


def test_the_table_agrees_with_the_declarations() -> None:
    for command in COMMANDS.values():
        for answer in [answer for stage in command.stages for answer in stage]:
            message = MESSAGES[answer.msg_id]
            assert message.direction is UP
            first = message.layout(Edition.E2019).subcons[0].name
            assert (first == "ack_serial") == (answer.by is By.SERIAL), f"{answer.msg_id:#06x}"
        assert all(MESSAGES[msg_id].direction is UP for msg_id in command.later)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: f"{command.id:04X}")
def test_each_command_is_completed_by_its_own_answer_only(command: Command) -> None:
    sent = Outstanding(command, 7)
    for stage in command.stages:
        for answer in stage:
            other = reply(command, 8) if answer == GENERAL else {"ack_serial": 8}
            if answer.by is By.SERIAL:
                assert meaning(sent, answer.msg_id, other) is None, "it names another command"
            own = reply(command, 7) if answer == GENERAL else {"ack_serial": 7}
            expected = Event.COMPLETES if stage is command.stages[-1] else Event.ACKNOWLEDGES
            assert meaning(sent, answer.msg_id, own) is expected
    for msg_id in (0x0002, 0x0200, 0x0801, 0x0F00):
        assert meaning(sent, msg_id, {}) is None
    assert meaning(sent, TERMINAL_REPLY, reply(command, 7, 3)) is Event.REFUSES
    assert meaning(sent, TERMINAL_REPLY, reply(command, 7) | {"ack_msg_id": 0x8F01}) is None


def test_the_table_sweeps_every_state_and_event() -> None:
    ends = {State.ANSWERED, State.FAILED, State.TIMED_OUT}
    for state, event in product(State, Event):
        after = Outstanding(COMMANDS[0x8300], 1, state=state).after(event).state
        if state in ends:
            assert after is state
        else:
            assert after is NEXT[state, event] and after is not State.SENT
    assert Outstanding(COMMANDS[0x8300], 1).after(None).state is State.SENT


def test_a_control_of_the_vehicle_is_acknowledged_and_then_answered() -> None:
    sent = Outstanding(COMMANDS[0x8500], 5)
    acknowledged = sent.told(0x0001, reply(sent.command, 5))
    assert acknowledged.state is State.ACKNOWLEDGED
    assert acknowledged.told(0x0500, {"ack_serial": 5}).state is State.ANSWERED
    assert sent.told(0x0500, {"ack_serial": 5}).state is State.ANSWERED, "its first answer got lost"
    assert acknowledged.told(0x0001, reply(sent.command, 5, 1)).state is State.FAILED


def test_a_query_is_only_acknowledged_by_a_general_reply() -> None:
    sent = Outstanding(COMMANDS[0x8104], 5)
    assert sent.told(0x0001, reply(sent.command, 5)).state is State.ACKNOWLEDGED
    assert sent.told(0x0001, reply(sent.command, 5, 3)).state is State.FAILED
    assert sent.told(0x0104, {"ack_serial": 5}).state is State.ANSWERED


@pytest.mark.parametrize("msg_id", [0x0001, 0x0805])
def test_a_picture_is_promised_by_either_answer(msg_id: int) -> None:
    sent = Outstanding(COMMANDS[0x8801], 5)
    assert sent.told(msg_id, reply(sent.command, 5)).state is State.ANSWERED


def test_answers_of_2011_without_serial_answer_by_id() -> None:
    fields = {"alarm": 0, "status": 3}
    assert Outstanding(COMMANDS[0x8201], 5).told(0x0201, fields).state is State.ANSWERED


def test_a_card_put_in_after_the_question_does_not_answer_it() -> None:
    """0x0702 is sent by itself whenever a driver puts a card in or takes it out."""
    sent = Outstanding(COMMANDS[0x8702], 5, sent_at=NOON)

    def driver(at: datetime) -> dict[str, Any]:
        fields = {"card_status": 1, "card_time": at, "card_read_result": 1}
        read = decode_body(0x0702, Edition.E2013, encode_body(0x0702, Edition.E2013, fields))
        assert isinstance(read, dict)
        return read

    assert sent.told(0x0702, driver(NOON + timedelta(seconds=1))).state is State.SENT
    assert sent.told(0x0702, driver(NOON - timedelta(hours=3))).state is State.ANSWERED
    assert COMMANDS[0x8702].by_id and not COMMANDS[0x8104].by_id


@given(
    first=st.integers(0, SERIALS - 1),
    fragments=st.integers(1, 5),
    order=st.permutations(range(5)),
)
def test_a_command_in_pieces_is_complete_when_all_or_the_last_are_replied_to(
    first: int, fragments: int, order: list[int]
) -> None:
    command = COMMANDS[0x8108]
    outstanding = Outstanding(command, first, fragments)
    replied = set()
    for index in (index for index in order if index < fragments):
        outstanding = outstanding.told(0x0001, reply(command, (first + index) % SERIALS))
        replied.add(index)
        is_there = fragments - 1 in replied or len(replied) == fragments
        assert outstanding.state is (State.ANSWERED if is_there else State.SENT)


def test_a_makers_own_command_wants_a_general_reply() -> None:
    assert command_of(0xF123).stages == ((GENERAL,),)
    assert command_of(0x8104) is COMMANDS[0x8104]


def test_waits_grow_by_the_formula_of_the_standard() -> None:
    waits = [wait_s(10, retries) for retries in range(5)]
    assert waits == [10, 10, 20, 60, 240]
    assert all(waits[n + 1] == waits[n] * (n + 1) for n in range(4))
