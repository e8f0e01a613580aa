"""Every state × every action × everybody."""

import itertools

import pytest

from alerts.desk import (
    DESK,
    Action,
    AlreadyHandled,
    AlreadyTaken,
    Desk,
    DeskError,
    NotTaken,
    OnDesk,
    Person,
    Result,
    ResultInvalid,
    act,
)
from protocol.words import Ends

WANG, LI, ADMIN = Person("wang"), Person("li"), Person("chief", is_admin=True)


@pytest.mark.parametrize(("state", "action", "by"), list(itertools.product(Desk, Action, (WANG, LI, ADMIN))))
def test_every_state_action_and_person(state: Desk, action: Action, by: Person) -> None:
    """Wang has taken, or handled, what is taken or handled."""
    alarm = OnDesk(state, by="wang" if state is not Desk.FREE else None)
    is_foreign = state is Desk.TAKEN and by is not WANG
    try:
        moved = act(alarm, action, by, result="real")
    except AlreadyHandled as error:
        assert state is Desk.HANDLED and error.by == "wang" and "wang" in str(error)
    except AlreadyTaken as error:
        assert is_foreign and error.by == "wang" and "wang" in str(error)
        assert by is LI or action is Action.TAKE
    except NotTaken:
        assert state is Desk.FREE and action is not Action.TAKE
    else:
        assert moved.state is DESK[state, action]
        assert moved.changed == (state is not moved.state)
        assert not is_foreign or by is ADMIN
        assert moved.result == (Result.REAL if action is Action.HANDLE else None)


def test_taking_twice_changes_nothing() -> None:
    assert not act(OnDesk(Desk.TAKEN, "wang"), Action.TAKE, WANG).changed


@pytest.mark.parametrize("result", [None, "", "unclear"])
def test_handling_needs_a_result(result: str | None) -> None:
    with pytest.raises(ResultInvalid, match="allowed are real, false_alarm, test, other"):
        act(OnDesk(Desk.TAKEN, "wang"), Action.HANDLE, WANG, result=result)


@pytest.mark.parametrize(("ends", "has_ended"), list(itertools.product(Ends, (False, True))))
def test_handling_ends_what_only_an_operator_can_end(ends: Ends, has_ended: bool) -> None:
    alarm = OnDesk(Desk.TAKEN, "wang", ends=ends, has_ended=has_ended)
    moved = act(alarm, Action.HANDLE, WANG, result="false_alarm")
    assert moved.ends_alarm == (ends is Ends.BY_OPERATOR and not has_ended)


def test_every_error_is_one_of_the_desk() -> None:
    assert all(
        issubclass(kind, DeskError) for kind in (AlreadyTaken, AlreadyHandled, NotTaken, ResultInvalid)
    )
