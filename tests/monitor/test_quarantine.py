"""Quarantine: what is only counted is told, and admins delete with an audit line."""

import httpx
import psycopg

from store.quarantine import Limits, Quarantined, insert
from tests.monitor.conftest import until
from tests.monitor.facts import T0, Facts

KEPT = Limits(kept_per_hour=3)
HOUR_US = int(T0.timestamp() * 1e6)
PERIOD = {"from": T0.isoformat(), "to": "2026-03-02T00:00:00Z"}


def received(dsn: str, terminal: int, log_id: object, *, reason: str, count: int) -> None:
    """So many unreadable things, as the worker writes them."""
    with psycopg.connect(dsn) as connection:
        entries = [
            Quarantined(HOUR_US + n, reason, b"\x7e", log_id, n, len(reason), terminal)  # type: ignore[arg-type]
            for n in range(count)
        ]
        insert(connection, entries, KEPT)


async def test_what_is_only_counted_is_told(root: httpx.AsyncClient, facts: Facts, dsn: str) -> None:
    log = await facts.one("SELECT gen_random_uuid() AS id")
    terminal = await facts.terminal()
    received(dsn, terminal, log["id"], reason="bad_checksum", count=10)
    summary = (await root.get("/api/v1/quarantine/summary", params=PERIOD)).json()["items"]
    assert [(each["reason"], each["count"], each["only_counted"]) for each in summary] == [
        ("bad_checksum", 3, 7)
    ]

    async def figured() -> bool:
        figures = (await root.get("/api/v1/health")).json()["figures"]
        return bool(figures["quarantine_mib"]) and figures["quarantine_only_counted"] == 0

    await until(figured)


async def test_admins_delete_what_they_choose(
    root: httpx.AsyncClient, anna: httpx.AsyncClient, facts: Facts, dsn: str
) -> None:
    log = await facts.one("SELECT gen_random_uuid() AS id")
    terminal, other = await facts.terminal(), await facts.terminal()
    received(dsn, terminal, log["id"], reason="bad_checksum", count=2)
    received(dsn, other, log["id"], reason="undecodable", count=3)
    path = "/api/v1/quarantine"
    assert (await anna.delete(path)).status_code == 403
    later = {"from": "2026-03-02T00:00:00Z"}
    assert (await root.delete(path, params=later)).json() == {"deleted": 0, "is_all": True}
    chosen = {"reason": "undecodable", "terminal_id": str(other)}
    assert (await root.delete(path, params=chosen)).json() == {"deleted": 3, "is_all": True}
    left = (await root.get("/api/v1/quarantine", params=PERIOD)).json()["items"]
    assert {each["reason"] for each in left} == {"bad_checksum"} and len(left) == 2
    (entry,) = (await root.get("/api/v1/audit", params={"action": "quarantine.deleted"})).json()["items"]
    assert (entry["user_name"], entry["detail"]["things"], entry["detail"]["reason"]) == (
        "root",
        3,
        "undecodable",
    )
