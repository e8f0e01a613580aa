"""Derives legs and days from positions: what came in order extends them, what came late corrects them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
import psycopg

from keeper.chore import Chore, Connection, Done
from keeper.legs import Fixes, Legs, legs_of
from keeper.options import KeeperOptions
from store import journeys
from store.binary import Column, floats, times
from store.journeys import BEGINNING, Fix, Piece
from store.times import from_us

EVERY_S: Final = 60.0
LIVE_PIECES: Final = 2_000
"""Terminals of one step: a fifth of a second for a busy fleet."""
LATE_REPORTS: Final = 5_000
"""Late reports of one step: they may lie in as many days."""

_DAYS_TO_2000: Final = 10_957
"""PostgreSQL counts days from 2000-01-01."""


def step(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
    """Correct days that late reports changed, then follow some terminals, then look at the links."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        stale = journeys.stale_pieces(connection, LATE_REPORTS)
        if stale:
            # What is left of a day whose positions are gone would take away what they said.
            kept_since = now - options.retention.tracks
            there = [each for each in stale if each.begin_at and each.begin_at >= kept_since]
            derive(connection, there)
            journeys.step_back(connection, there)
            journeys.done(connection, LATE_REPORTS)
    with connection.transaction():
        live = journeys.live_pieces(connection, LIVE_PIECES)
        if live:
            follow(connection, live)
    if not stale and not live:
        with connection.transaction():
            journeys.refresh_online(connection, now)
        return Done()
    what = [f"{len(live)} {'terminal' if len(live) == 1 else 'terminals'} followed"] * bool(live)
    what += [f"{len(stale)} {'day' if len(stale) == 1 else 'days'} corrected"] * bool(stale)
    zh = [f"跟进 {len(live)} 台终端"] * bool(live) + [f"更正 {len(stale)} 个终端日"] * bool(stale)
    return Done(", ".join(what), more=True, zh="，".join(zh))


def follow(connection: Connection, live: Sequence[Piece]) -> None:
    """Extend the legs of terminals that reported, and move their cursors."""
    pieces = [each for each in live if each.begin_at is not None]
    legs, following = derive(connection, pieces)
    number_of = {each.terminal_id: number for number, each in enumerate(pieces)}
    cursors = []
    for each in live:
        assert each.received_at is not None
        number = number_of.get(each.terminal_id)
        if number is None:
            cursors.append((each.terminal_id, BEGINNING, each.received_at))
        elif following[number]:
            # The day is complete. Its successor is another piece, so this terminal is still behind.
            cursors.append((each.terminal_id, from_us(following[number]), BEGINNING))
        else:
            cursors.append((each.terminal_id, _anchor(legs, number), each.received_at))
    journeys.move(connection, cursors)


def derive(connection: Connection, pieces: Sequence[Piece]) -> tuple[Legs | None, list[int]]:
    """Make the legs of the pieces anew; also gives, for each, when the first fix behind it was, or 0."""
    found = journeys.fixes(connection, pieces) if pieces else []
    following = [0] * len(pieces)
    if not found:
        journeys.replace(connection, pieces, [])
        return None, following
    legs = legs_of(_fixes(found))
    number = legs.series - 1
    ends_us = np.array([round(each.end_at.timestamp() * 1e6) for each in pieces if each.end_at])
    behind = legs.began_us >= ends_us[number]
    for piece, at_us in zip(number[behind].tolist(), legs.began_us[behind].tolist(), strict=True):
        following[piece] = at_us
    legs = legs.take(~behind)
    journeys.replace(connection, pieces, _rows(legs, pieces))
    return legs, following


def _anchor(legs: Legs | None, number: int) -> datetime:
    """Give where the next piece begins: at the last leg but one, because what follows may still join the last
    one to it.
    """
    assert legs is not None
    mine = np.flatnonzero(legs.series == number + 1)
    return from_us(int(legs.began_us[mine[-2:][0]]))


def _fixes(found: Sequence[Fix]) -> Fixes:
    series, at_us, lat, lon, speed_kmh, mileage_km = zip(*found, strict=True)
    return Fixes(
        series=np.array(series, np.int64),
        at_us=np.array(at_us, np.int64),
        lat=np.array(lat, np.float64),
        lon=np.array(lon, np.float64),
        speed_kmh=np.array(speed_kmh, np.float64),
        mileage_km=np.array(mileage_km, np.float64),
    )


def _rows(legs: Legs, pieces: Sequence[Piece]) -> list[Column]:
    """Give the legs as columns of the table."""
    if not len(legs):
        return []
    terminal_id = np.array([each.terminal_id for each in pieces])[legs.series - 1]
    return [
        Column("terminal_id", ">i4", terminal_id),
        times("began_at", legs.began_us),
        times("last_fix_at", legs.last_fix_us),
        times("ended_at", legs.ended_us),
        Column("day", ">i4", legs.day - _DAYS_TO_2000),
        Column("kind", "S4", np.where(legs.is_trip, b"trip", b"stop")),
        Column("fixes", ">i4", legs.fixes),
        *(floats(name, getattr(legs, name)) for name in ("began_lat", "began_lon", "ended_lat", "ended_lon")),
        *(
            floats(name, getattr(legs, name), ">f4")
            for name in (
                *("driving_s", "driving_night_s", "track_km", "gap_km", "odometer_km"),
                "max_speed_kmh",
            )
        ),
    ]


CHORE = Chore("journeys", EVERY_S, step)
