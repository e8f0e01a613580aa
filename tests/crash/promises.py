"""What the platform owes: everything that it has read, and every answered report once."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from store.log import settle
from tests.collisions import latitude
from tests.crash.installation import Installation
from tests.crash.terminals import Driver

CATCH_UP_S = 600
"""Far longer than a worker needs for what these tests send."""
GMT8 = timedelta(hours=8)


def wait_until_read(place: Installation) -> None:
    """Wait until the worker has read everything in the logs."""
    for log in place.logs.iterdir():
        settle(log)
    heads = {
        json.loads((log / "log.json").read_text())["uuid"]: int.from_bytes(
            (log / "head").read_bytes()[:8], "little"
        )
        for log in place.logs.iterdir()
    }
    deadline = time.monotonic() + CATCH_UP_S
    positions: dict[str, int] = {}
    while time.monotonic() < deadline:
        with place.connect() as database:
            rows: list[Any] = database.execute("SELECT log_id::text, position FROM cursors").fetchall()
        positions = dict(rows)
        if all(positions.get(log_id, -1) >= head for log_id, head in heads.items()):
            return
        time.sleep(0.1)
    raise TimeoutError(f"the worker stands at {positions} of {heads}:\n{place.output('worker')}")


def body_of(raw: bytes) -> bytes:
    """The body of a plain frame that is no fragment."""
    return raw[-1 - (int.from_bytes(raw[2:4]) & 0x3FF) : -1]


def assert_answered_once(place: Installation, drivers: Iterable[Driver]) -> int:
    """Every answered report is one row; copies count the times it was sent again. Of two with the same key
    one is, and the other one is in quarantine each time it came."""
    stored: Counter[tuple[str, datetime, int]] = Counter()
    with place.connect() as database:
        rows: list[Any] = database.execute(
            "SELECT t.identity, p.reported_at, round(p.lat * 1e6)::int"
            " FROM positions p JOIN terminals t ON t.id = p.terminal_id"
        ).fetchall()
        stored.update(rows)
        quarantined: list[Any] = database.execute(
            "SELECT t.identity, q.raw FROM quarantine q JOIN terminals t ON t.id = q.terminal_id"
            " WHERE q.reason = 'hash_collision'"
        ).fetchall()
    collided = {(identity, body_of(raw)[22:28], latitude(body_of(raw))) for identity, raw in quarantined}
    total = 0
    for driver in drivers:
        for report in driver.answered:
            reported_at = datetime.fromisoformat(report["time"]).replace(tzinfo=UTC) - GMT8
            key = (driver.identity, reported_at, report["latitude_raw"])
            if report["time"] in driver.rivals:
                both = [stored[driver.identity, reported_at, each] for each in driver.rivals[report["time"]]]
                assert sorted(both) == [0, 1], f"{key}: {both} of two with one key in positions"
                bcd = bytes.fromhex(f"{datetime.fromisoformat(report['time']):%y%m%d%H%M%S}")
                is_collided = (driver.identity, bcd, report["latitude_raw"]) in collided
                assert bool(stored[key]) != is_collided, f"{key} was answered and is in both or neither"
                total += 1
                continue
            assert stored[key] == 1, f"{key} was answered and stands {stored[key]} times in positions"
            total += 1
    return total


def assert_told_whole(place: Installation, drivers: Iterable[Driver]) -> int:
    """What was said in fragments, each of which was answered, is there as it was said."""
    with place.connect() as database:
        rows: list[Any] = database.execute(
            "SELECT t.identity, m.body FROM messages m JOIN terminals t ON t.id = m.terminal_id"
        ).fetchall()
    stored = {(identity, bytes(body)) for identity, body in rows}
    said = [(driver.identity, body) for driver in drivers for body in driver.told]
    missing = [key for key in said if key not in stored]
    assert not missing, f"{len(missing)} of {len(said)} messages in pieces are not there"
    return len(said)
