"""Drift and stuck receivers: the columns say what one pass over single reports says, however they are cut."""

from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.quality import Quality
from tests.worker.stories import Story, facts, work
from tickets.silence import NEVER
from worker import fixes
from worker.fixes import Fixes, judge, no_lanes

TERMINALS = 3
SECOND_US = 1_000_000


class Report(NamedTuple):
    """One report of a story; the place is a number of cells of 0.01 degrees, about a kilometre."""

    terminal: int
    at_s: int
    cell: int = 0
    speed_kmh: float = 60.0
    is_late: bool = False
    is_usable: bool = True


def columns(reports: list[Report]) -> Fixes:
    return Fixes(
        terminal=np.array([each.terminal for each in reports], np.int64),
        is_late=np.array([each.is_late for each in reports], np.bool_),
        is_usable=np.array([each.is_usable for each in reports], np.bool_),
        at_us=np.array([each.at_s * SECOND_US for each in reports], np.int64),
        lat=np.array([41.0 + each.cell / 100 for each in reports]),
        lon=np.full(len(reports), 123.0),
        speed_kmh=np.array([each.speed_kmh for each in reports], np.float32),
    )


def said(*reports: Report) -> list[int]:
    return judge(no_lanes(TERMINALS), columns(list(reports))).tolist()


def one_by_one(reports: list[Report]) -> list[int]:
    """The rules as one reads them in the documents."""
    believed: dict[tuple[int, bool], fixes.Fix] = {}
    wild: dict[tuple[int, bool], fixes.Fix] = {}
    still: dict[tuple[int, bool], tuple[int, int]] = {}
    doubts = []
    for each in reports:
        lane = each.terminal, each.is_late
        if not each.is_usable:
            doubts.append(0)
            continue
        fix = fixes.Fix(each.at_s * SECOND_US, 41.0 + each.cell / 100, 123.0)
        is_wild, believed[lane], wild[lane] = fixes.follow(
            believed.get(lane, fixes.NO_FIX), wild.get(lane, fixes.NO_FIX), fix
        )
        doubt = Quality.DRIFT if is_wild else 0
        if each.speed_kmh < fixes.STUCK_KMH:
            still.pop(lane, None)
        else:
            if lane not in still or still[lane][1] != each.cell:
                still[lane] = each.at_s, each.cell
            if each.at_s - still[lane][0] >= fixes.STUCK_S:
                doubt |= Quality.STUCK
        doubts.append(int(doubt))
    return doubts


REPORTS = st.lists(
    st.builds(
        Report,
        terminal=st.integers(0, TERMINALS - 1),
        at_s=st.integers(0, 600),
        cell=st.sampled_from([0, 0, 0, 1, 2, 40, 41]),
        speed_kmh=st.sampled_from([0.0, 9.9, 10.0, 60.0]),
        is_late=st.booleans(),
        is_usable=st.integers(0, 5).map(bool),
    ),
    max_size=40,
)


@given(REPORTS, st.lists(st.integers(0, 40), max_size=4), st.booleans())
def test_columns_say_what_single_reports_say_however_cut(
    reports: list[Report], cuts: list[int], in_order: bool
) -> None:
    if in_order:
        reports = sorted(reports, key=lambda each: each.at_s)
    lanes = no_lanes(TERMINALS)
    doubts: list[int] = []
    edges = [0, *sorted(cuts), len(reports)]
    for begin, end in pairwise(edges):
        doubts += judge(lanes, columns(reports[begin:end])).tolist()
    assert doubts == one_by_one(reports)


def test_a_wild_fix_is_told_and_the_one_after_it_is_not() -> None:
    assert said(Report(0, 0), Report(0, 10, 300), Report(0, 20), Report(0, 30)) == [0, Quality.DRIFT, 0, 0]


def test_a_second_fix_at_the_new_place_is_believed() -> None:
    assert said(Report(0, 0), Report(0, 10, 300), Report(0, 20, 300), Report(0, 30, 300)) == [
        0,
        Quality.DRIFT,
        0,
        0,
    ]


@pytest.mark.parametrize(("at_s", "is_wild"), [(10, True), (19, True), (21, False), (86_400, False)])
def test_drift_is_distance_by_time(at_s: int, is_wild: bool) -> None:
    assert said(Report(0, 0), Report(0, at_s, 1)) == [0, Quality.DRIFT if is_wild else 0]


def test_the_way_over_the_date_line_is_short() -> None:
    east, west = np.array([179.9999]), np.array([-179.9999])
    level = np.array([60.0])
    assert not fixes.is_jump(level, east, level, west, np.array([SECOND_US]))[0]


def test_stored_reports_do_not_make_live_ones_wild() -> None:
    story = [
        Report(0, 100),
        Report(0, 0, 300, is_late=True),
        Report(0, 110),
        Report(0, 10, 300, is_late=True),
    ]
    assert said(*story) == [0, 0, 0, 0]


def test_a_receiver_that_stands_still_while_it_drives_is_stuck() -> None:
    story = [Report(0, at_s) for at_s in (0, 60, 119, 120, 180)]
    assert said(*story) == [0, 0, 0, Quality.STUCK, Quality.STUCK]
    assert said(*(each._replace(speed_kmh=3.0) for each in story)) == [0] * 5
    assert said(*story[:2], Report(0, 90, speed_kmh=0.0), *story[2:]) == [0] * 5 + [0]


def test_lanes_begin_empty() -> None:
    lanes = no_lanes(2)
    assert lanes.shape == (2, 2) and (lanes["at_us"] == NEVER).all()
    assert {each.name for each in fields(Fixes)} >= {"at_us", "lat", "lon"}


def test_what_was_said_before_is_remembered_over_a_restart(tmp_path: Path, dsn: str) -> None:
    story, state = Story(tmp_path / "log"), tmp_path / "state"
    session = story.open("13912345678")
    for lat in (41.0, 45.0, 41.001, 41.002):
        story.tell(session, lat=lat)
        story.tick(10)
        work(story, dsn, state)  # a worker of its own each time
    rows = sorted(facts(dsn)["positions"], key=lambda row: row["placed_at"])
    assert [row["quality"] for row in rows] == [0, Quality.DRIFT, 0, 0]
