"""Open sessions are what a dictionary says; opening or closing one costs little however many there are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protocol.columns.growth import extended
from store.merge import SLOTS
from worker.sessions import UNKNOWN, Sessions, slots_of

NUMBERS = st.integers(1, 60)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.dictionaries(NUMBERS, st.integers(0, 9), max_size=8)),
        st.tuples(st.just("close"), st.sets(NUMBERS, max_size=8)),
        st.tuples(st.just("keep"), st.tuples(st.integers(0, SLOTS - 1), st.sets(NUMBERS, max_size=8))),
    ),
    max_size=20,
)


@given(STEPS)
def test_any_steps_leave_what_a_dictionary_has(steps: list[tuple[str, object]]) -> None:
    sessions, model = Sessions(), dict[int, int]()
    everything = np.arange(1, 61)
    for what, given_ in steps:
        match what, given_:
            case "open", dict(opened):
                sessions.open(opened)
                model = opened | model
            case "close", set(numbers):
                sessions.close(numbers)
                model = {number: of for number, of in model.items() if number not in numbers}
            case "keep", (int(slot), set(numbers)):
                sessions.keep(slot, numbers)
                model = {
                    number: of
                    for number, of in model.items()
                    if slots_of(np.int64(number)) != slot or number in numbers  # type: ignore[arg-type]
                }
        assert sessions.terminals(everything).tolist() == [model.get(n, UNKNOWN) for n in range(1, 61)]
        assert len(sessions) == len(model)
        assert sessions.to_array()["number"].tolist() == sorted(model)
        assert Sessions(sessions.to_array()).to_array().tolist() == sessions.to_array().tolist()


def test_a_session_that_opens_among_many_moves_none_of_them() -> None:
    sessions = Sessions()
    sessions.open({number: number for number in range(100_000)})
    places = set()
    for number in range(100_000, 102_000):
        sessions.open({number: 0})
        sessions.close({number - 50_000})
        places.add(id(sessions._rows))
    assert len(places) == 1


def test_an_array_that_grows_a_little_at_a_time_is_seldom_copied() -> None:
    array, places = np.zeros(0, np.int64), set()
    for number in range(10_000):
        array = extended(array, np.array([number]))
        places.add(array.ctypes.data)
    assert array.tolist() == list(range(10_000))
    assert len(places) <= 16


def test_an_array_of_another_owner_is_never_written_behind() -> None:
    owner = np.arange(10)
    grown = extended(owner[:5], np.array([99]))
    assert owner.tolist() == list(range(10))
    assert grown.tolist() == [0, 1, 2, 3, 4, 99]
