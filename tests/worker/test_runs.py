"""Runs of rows say what a loop over the rows says."""

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.runs import Runs, newest

KEYS = st.lists(st.integers(0, 3), max_size=12)


@given(KEYS)
def test_runs_are_what_stands_together(keys: list[int]) -> None:
    runs = Runs.of(np.array(keys, np.int64))
    expected = [(key, len(list(group))) for key, group in groupby(keys)]
    assert list(zip(runs.keys.tolist(), runs.lengths.tolist(), strict=True)) == expected
    spread = runs.spread(np.arange(len(runs)))
    assert spread.tolist() == runs.of_rows(np.arange(len(keys))).tolist()
    assert [keys[row] for row in runs.first.tolist()] == [keys[row] for row in runs.last.tolist()]


@given(KEYS)
def test_before_a_row_stands_the_one_above_or_what_was_known(keys: list[int]) -> None:
    runs = Runs.of(np.array(keys, np.int64))
    values = np.arange(100, 100 + len(keys))
    known = np.arange(len(runs))
    before = runs.before(values, known).tolist()
    for row, value in enumerate(before):
        goes_on = row > 0 and keys[row] == keys[row - 1]
        assert value == (values[row - 1] if goes_on else known[runs.of_rows(np.array([row]))[0]])


@given(KEYS, st.data())
def test_the_newest_of_some_rows_is_the_last_of_each_key(keys: list[int], data: st.DataObject) -> None:
    key = np.sort(np.array(keys, np.int64))
    rows = [row for row in range(len(keys)) if data.draw(st.booleans())]
    last = {int(key[row]): row for row in rows}
    assert newest(key, np.array(rows, np.int64)).tolist() == sorted(last.values())
