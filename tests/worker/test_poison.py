"""Finding what cannot be written."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from worker.poison import poisonous


@given(bad=st.sets(st.integers(0, 199)), count=st.integers(0, 200))
def test_exactly_the_bad_ones_are_found(bad: set[int], count: int) -> None:
    things = list(range(count))
    assert poisonous(things, lambda chosen: not bad.intersection(chosen)) == sorted(bad.intersection(things))


def test_one_bad_one_among_many_takes_few_tries() -> None:
    tries = 0

    def can_be_written(chosen: Sequence[int]) -> bool:
        nonlocal tries
        tries += 1
        return 777 not in chosen

    assert poisonous(range(1000), can_be_written) == [777]
    assert tries <= 2 * 10 + 1
