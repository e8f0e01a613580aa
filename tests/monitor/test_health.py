"""Health, probes and metrics, with real neighbours on loopback ports, and a database that dies."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import dict_row

from monitor.health import LAG_FAILING_S, SENTENCES, Health, judge
from monitor.options import MonitorOptions
from northwatch.endpoint import Endpoint
from store import people, schema
from store.embedded import Embedded
from tests.databases import FAST
from tests.monitor.conftest import Served, serve, until
from tests.monitor.facts import Facts
from tests.monitor.test_live import complete, message, watch

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
DATABASE = {
    "version": "PostgreSQL 18",
    "size_bytes": 1,
    "timescaledb": None,
    "quarantined_last_hour": 3,
    "quarantine_bytes": 5 << 20,
    "quarantine_only_counted": 0,
    "log_time": NOW - timedelta(seconds=1),
    "now": NOW,
}
LOG = {"used_bytes": 10, "quota_bytes": 100, "free_bytes": 1000, "free_floor_bytes": 100, "fault": ""}
GATEWAY: dict[str, Any] = {"ok": True, "fault": "", "log": LOG, "fleet": {"fault": ""}}
WORKER: dict[str, Any] = {"ok": True, "lag_s": 0.2, "error": ""}


def _codes(health: Health) -> list[str]:
    return [problem["code"] for problem in health["problems"]]


def test_all_well() -> None:
    health = judge(GATEWAY, WORKER, DATABASE, {"terminals": 5}, NOW, keeper={"ok": True}, events={})
    assert (health["state"], health["problems"]) == ("ok", [])
    assert {part["state"] for part in health["parts"].values()} == {"ok"}  # type: ignore[attr-defined]
    assert health["figures"]["terminals"] == 5
    assert health["figures"]["quarantined_last_hour"] == 3
    assert health["figures"]["worker_lag_s"] == 0.2


@pytest.mark.parametrize(
    ("gateway", "worker", "database", "codes", "state"),
    [
        (None, WORKER, DATABASE, ["gateway_unreachable"], "failing"),
        (GATEWAY, None, DATABASE, ["worker_unreachable"], "failing"),
        (GATEWAY, WORKER, None, ["database_unreachable"], "failing"),
        (GATEWAY, WORKER | {"lag_s": 31}, DATABASE, ["worker_behind"], "degraded"),
        (GATEWAY, WORKER | {"lag_s": 181}, DATABASE, ["worker_far_behind"], "failing"),
        (GATEWAY | {"loop_delay_s": 1.5}, WORKER, DATABASE, ["gateway_late"], "degraded"),
        (GATEWAY, WORKER, DATABASE | {"quarantine_bytes": 1 << 30}, ["quarantine_full"], "degraded"),
        (GATEWAY, WORKER, DATABASE | {"quarantine_only_counted": 9_999}, ["quarantine_grows"], "degraded"),
        (GATEWAY, WORKER | {"ok": False, "error": "no log"}, DATABASE, ["worker_failing"], "failing"),
        (GATEWAY, WORKER | {"ok": False, "error": "no database"}, None, ["database_unreachable"], "failing"),
        (GATEWAY | {"ok": False, "fault": "x"}, WORKER, DATABASE, ["gateway_failing"], "failing"),
        (GATEWAY | {"log": LOG | {"used_bytes": 85}}, WORKER, DATABASE, ["log_filling"], "degraded"),
        (GATEWAY | {"ok": False, "log": LOG | {"used_bytes": 99}}, WORKER, DATABASE, ["log_full"], "failing"),
        (GATEWAY | {"ok": False, "log": LOG | {"free_bytes": 99}}, WORKER, DATABASE, ["log_full"], "failing"),
        (GATEWAY | {"ok": False, "log": LOG | {"is_full": True}}, WORKER, DATABASE, ["log_full"], "failing"),
        (
            GATEWAY | {"ok": False, "log": LOG | {"fault": "EIO"}},
            WORKER,
            DATABASE,
            ["log_failing"],
            "failing",
        ),
        (GATEWAY | {"fleet": {"fault": "x"}}, WORKER, DATABASE, ["gateway_fleet_stale"], "degraded"),
        (GATEWAY | {"lobby": {"is_full": True}}, WORKER, DATABASE, ["lobby_full"], "degraded"),
        ({}, {}, DATABASE, [], "ok"),
    ],
)
def test_every_trouble_has_its_sentence(
    gateway: Any, worker: Any, database: Any, codes: list[str], state: str
) -> None:
    health = judge(gateway, worker, database, {}, NOW, keeper={}, events={})
    assert (_codes(health), health["state"]) == (codes, state)
    for problem in health["problems"]:
        assert "{" not in problem["en"] + problem["zh"]
        assert health["parts"][problem["part"]]["state"] in ("failing", "degraded")  # type: ignore[literal-required]


def test_a_chunk_that_is_set_aside_is_told() -> None:
    aside = [{"chunk": 17, "day": "2026-03-01", "cause": "IndexError: 65765"}]
    keeper = {"ok": True, "chores": {"archive": {"set_aside": aside}}}
    health = judge(GATEWAY, WORKER, DATABASE, {}, NOW, keeper=keeper, events={})
    (problem,) = health["problems"]
    assert problem["code"] == "archive_set_aside"
    assert "17" in problem["zh"] and "IndexError: 65765" in problem["en"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["ok", "fault", "log", "fleet", "lag_s", "error"]), JSON))
def test_whatever_a_process_says_there_is_a_health(said: dict[str, Any]) -> None:
    health = judge(said, said, DATABASE, {}, NOW, keeper=said, events=said)
    assert set(_codes(health)) <= set(SENTENCES)


@pytest.fixture
def gateway() -> Iterator[Endpoint]:
    """The loopback endpoint of a gateway in trouble."""
    registry = CollectorRegistry()
    Counter("northwatch_frames", "Frames received", registry=registry).inc(7)
    answer = {"ok": False, "fault": "EIO", "log": {**LOG, "fault": "EIO"}}
    endpoint = Endpoint(0, lambda: answer, registry)
    yield endpoint
    endpoint.close()


async def test_neighbours_are_asked(options: MonitorOptions, gateway: Endpoint, db: Any) -> None:
    told = replace(
        options,
        gateway_url=f"http://127.0.0.1:{gateway.port}",
        worker_url="http://127.0.0.1:1",
        keeper_url=None,
    )
    async with serve(told) as served:
        user = await people.add_user(db, "anna", role="operator", password="long enough", by="test")
        await people.set_password(db, user["id"], "and of her own", by="anna")
        served.cookies["anna"] = await people.open_sign_in(db, user["id"])
        async with served.client("anna") as anna, served.client() as stranger:

            async def heard() -> Any:
                health = (await anna.get("/api/v1/health")).json()
                return health if health["parts"]["gateway"]["detail"] else None

            health = await until(heard)
            assert [problem["code"] for problem in health["problems"]] == [
                "log_failing",
                "worker_unreachable",
            ]
            assert health["parts"]["log"]["detail"]["fault"] == "EIO"
            metrics = await stranger.get("/metrics")
            samples = {
                (sample.name, sample.labels.get("process")): sample.value
                for family in text_string_to_metric_families(metrics.text)
                for sample in family.samples
            }
            assert samples["northwatch_frames_total", "gateway"] == 7
            assert samples["northwatch_up", "gateway"] == 1
            assert samples["northwatch_up", "worker"] == 0
            assert samples["northwatch_viewers", "monitor"] == 0
            assert samples["northwatch_requests_total", "monitor"] > 0
            assert "identity" not in metrics.text


async def test_probes(monitor: Served) -> None:
    async with monitor.client() as probe:
        assert (await probe.get("/healthz")).json() == {"ok": True, "loop_delay_s": 0.0}
        assert (await probe.get("/readyz")).json() == {"ok": True}


async def test_settings_name_conditions_and_colours(anna: Any) -> None:
    settings = (await anna.get("/api/v1/settings")).json()
    names = {each["name"]: (each["zh"], each["en"]) for each in settings["conditions"]}
    assert names["emergency"] == ("紧急报警", "Emergency")
    assert len(names) == len(settings["conditions"]) > 30
    assert {each["code"] for each in settings["plate_colors"]} >= {0, 1, 2, 3, 4, 9}
    assert settings["version"] == "1.2.3"


@pytest.fixture
def mortal() -> Iterator[Embedded]:
    """A database server of this test's own."""
    directory = Path(tempfile.mkdtemp(prefix="northwatch-test-"))
    server = Embedded(directory / "database", FAST)
    server.start()
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        schema.migrate(connection)
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


def _kill(server: Embedded) -> None:
    """kill -9 the server: the postmaster, whose children end when they notice."""
    pid = int((server.directory / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def _with_anna(server: Embedded) -> AsyncIterator[tuple[Served, Facts]]:
    async with (
        serve(MonitorOptions(server.dsn(), gateway_url=None, worker_url=None, keeper_url=None)) as served,
        await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True, row_factory=dict_row) as db,
    ):
        user = await people.add_user(db, "anna", role="operator", password="long enough", by="test")
        await people.set_password(db, user["id"], "and of her own", by="anna")
        served.cookies["anna"] = await people.open_sign_in(db, user["id"])
        yield served, Facts(db)


async def test_database_dies_and_comes_back_and_nobody_does_anything(mortal: Embedded) -> None:
    async with _with_anna(mortal) as (served, facts), served.client("anna") as anna:
        terminal = await facts.terminal("100")
        await facts.state(terminal)
        await complete(anna)
        async with watch(served, "anna") as screen:
            shown = [*(await message(screen, "snapshot"))["states"]]
            while not shown:
                shown = (await message(screen, "states"))["states"]
            _kill(mortal)

            async def problem() -> str | None:
                told = await message(screen, "health")
                return next((each["code"] for each in told["health"]["problems"]), None)

            assert await until(problem) == "database_unreachable"
            refused = await anna.get("/api/v1/vehicles")
            assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
            assert refused.headers["retry-after"]
            sign_in = {"name": "anna", "password": "long enough"}
            assert (await anna.post("/api/v1/sign-in", json=sign_in)).status_code == 503
            assert (await anna.get("/readyz")).status_code == 503
            assert (await anna.get("/healthz")).status_code == 200
            told = (await anna.get("/api/v1/health")).json()
            assert (told["state"], told["problems"][0]["code"]) == ("failing", "database_unreachable")
            stranger = await anna.get("/api/v1/health", headers={"Cookie": "northwatch_session=guessed"})
            assert stranger.status_code in (401, 503)
            async with watch(served, "anna") as early:
                with pytest.raises(Exception, match="1013"):
                    await early.recv()

            await asyncio.to_thread(mortal.start)

            async def ready() -> bool:
                return (await anna.get("/readyz")).status_code == 200

            await until(ready)
            assert (await anna.get("/api/v1/vehicles")).status_code == 200
            with psycopg.connect(mortal.dsn(), autocommit=True) as connection:
                connection.execute("UPDATE terminal_states SET lat = 42, updated_at = now()")
            seen = set()

            async def well() -> bool:
                told = json.loads(await screen.recv())
                if told["type"] == "health":
                    seen.add(told["health"]["state"])
                elif told["type"] == "states":
                    seen.update(state["lat"] for state in told["states"])
                return {"ok", 42.0} <= seen

            await until(well)


async def test_monitor_starts_without_its_database(mortal: Embedded) -> None:
    mortal.stop()
    options = MonitorOptions(mortal.dsn(), gateway_url=None, worker_url=None, keeper_url=None)
    async with serve(options) as served, served.client() as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        await asyncio.to_thread(mortal.start)

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await until(ready)


def test_no_lamp_is_well_whose_part_says_it_is_not() -> None:
    """The trouble may be told of another part: of the log, or of the database."""
    damaged = {"ok": False, "log_damaged": True, "error": "LogCorrupt: …", "lag_s": LAG_FAILING_S + 1}
    for worker, database in ((WORKER | damaged, DATABASE), (WORKER | {"ok": False}, None)):
        health = judge(GATEWAY, worker, database, {}, NOW, keeper={"ok": True}, events={})
        assert health["parts"]["worker"]["state"] in ("degraded", "failing")
    health = judge(GATEWAY, WORKER | damaged, DATABASE, {}, NOW, keeper={"ok": True}, events={})
    assert _codes(health) == ["log_damaged", "worker_far_behind"]
    assert health["parts"]["worker"]["state"] == "failing"
