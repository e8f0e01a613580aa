"""Every state × every action."""

import itertools

import pytest

from tickets.lifecycle import (
    CHANGE,
    LIFECYCLE,
    Action,
    NotAllowed,
    NoteMissing,
    Ticket,
    TicketClosed,
    TicketError,
    act,
)

ENDED = {Ticket.CLOSED, Ticket.CANCELLED}


@pytest.mark.parametrize(("state", "action"), list(itertools.product(Ticket, Action)))
def test_every_state_and_action(state: Ticket, action: Action) -> None:
    try:
        moved = act(state, action, note="because")
    except TicketError as error:
        assert (state, action) not in LIFECYCLE
        assert isinstance(error, TicketClosed if state in ENDED else NotAllowed)
        assert str(state) in str(error)
    else:
        assert moved.state is LIFECYCLE[state, action]
        assert moved.change == CHANGE[action]
        assert moved.assigns == (action is Action.ACCEPT)


def test_what_is_open_can_be_ended_and_what_is_ended_cannot() -> None:
    for state in Ticket:
        ends = {LIFECYCLE.get((state, action)) for action in Action} & ENDED
        assert ends == (ENDED if state not in ENDED else {state})  # a note leaves it as it is


@pytest.mark.parametrize("action", [Action.CLOSE, Action.CANCEL, Action.NOTE, Action.CLOSE_ON_PROOF])
def test_these_say_why(action: Action) -> None:
    with pytest.raises(NoteMissing, match=action):
        act(Ticket.OPEN, action, note=" ")


def test_a_repair_that_did_not_hold_is_accepted_again() -> None:
    assert act(Ticket.REPAIRED, Action.ACCEPT).state is Ticket.ACCEPTED


def test_every_action_has_a_name_in_the_history() -> None:
    assert set(CHANGE) == set(Action)
