"""Exports: all rows of the period once, in every format, whoever is named; and nothing stays open."""

import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pyarrow.parquet as parquet
import pytest

import monitor.routes.exports as routes_exports
import store.exports
from monitor import downloads, spool
from monitor.compression import IN_A_THREAD_BYTES
from northwatch.config import Settings
from northwatch.export import export_file
from store.placement import Placement
from tests.monitor.conftest import Served, until
from tests.monitor.facts import T0, Facts

PERIOD = {"from": T0.isoformat(), "to": (T0 + timedelta(hours=1)).isoformat()}
MUCH = PERIOD | {"format": "geojson"}
MINUTES = 60


@pytest.fixture
async def vehicle(facts: Facts, dsn: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """An hour of two terminals, one of them in the vehicle that is given; seven rows are a batch."""
    monkeypatch.setattr(store.exports, "BATCH", 7)
    with psycopg.connect(dsn, autocommit=True) as connection:
        Placement().ensure(connection, [T0.date()])
    bound, unbound = await facts.terminal(), await facts.terminal()
    vehicle = await facts.vehicle("=辽A12345")
    await facts.installed(bound, vehicle)
    for minute in range(MINUTES):
        at = T0 + timedelta(minutes=minute)
        await facts.position(bound, at, lat=41 + minute / 100, speed_kmh=81.7)
        await facts.position(unbound, at, lat=None, lon=None)
    await facts.position(bound, T0 + timedelta(hours=1))  # the end is not part of the period
    return vehicle


def read(kind: str, data: bytes) -> list[dict[str, Any]]:
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    if kind == "parquet":
        rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
        return rows
    features = json.loads(data)["features"]
    return [
        each["properties"]
        | dict(zip(("lon", "lat"), (each["geometry"] or {}).get("coordinates", (None, None)), strict=True))
        for each in features
    ]


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


@pytest.mark.parametrize("kind", ["csv", "parquet", "geojson"])
async def test_every_format_has_every_row(root: httpx.AsyncClient, vehicle: int, kind: str) -> None:
    answer = await root.get("/api/v1/exports/positions", params=PERIOD | {"format": kind})
    assert answer.status_code == 200 and f".{kind}" in answer.headers["content-disposition"]
    rows = read(kind, answer.content)
    assert len(rows) == 2 * MINUTES
    mine = await root.get(
        "/api/v1/exports/positions", params=PERIOD | {"format": kind, "vehicle_id": vehicle}
    )
    of_vehicle = read(kind, mine.content)
    assert [round(float(row["lat"]) * 100) for row in of_vehicle] == [4100 + n for n in range(MINUTES)]
    if kind != "parquet":  # which has it as the database has, in four bytes
        assert {str(row["speed_kmh"]) for row in of_vehicle} == {"81.7"}
    # What a spreadsheet would run as a formula is text in a CSV file, and untouched elsewhere.
    assert {row["plate"] for row in of_vehicle} == {"'=辽A12345" if kind == "csv" else "=辽A12345"}
    at = of_vehicle[0]["placed_at"]
    assert (at if isinstance(at, datetime) else datetime.fromisoformat(at)) == T0
    assert not [row for row in rows if row["plate"] in (None, "") and row["lat"] not in (None, "")]


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "identity"])
async def test_compressed_for_the_way_an_answer_is_the_same(
    root: httpx.AsyncClient, vehicle: int, encoding: str
) -> None:
    """In pieces as they come, and at once: the description of the API is longer than what is compressed on
    the loop.
    """
    for path in ("/api/v1/exports/positions", "/api/openapi.json"):
        plain = await root.get(path, params=PERIOD, headers={"Accept-Encoding": "identity"})
        answer = await root.get(path, params=PERIOD, headers={"Accept-Encoding": f"{encoding}, x"})
        assert answer.headers.get("content-encoding", "identity") == encoding
        assert answer.content == plain.content
        assert len(answer.content) > IN_A_THREAD_BYTES or path.endswith("positions")
    packed = await root.get("/api/v1/exports/positions", params=PERIOD | {"format": "parquet"})
    assert packed.headers["content-encoding"] == "identity"


async def test_alarms_and_tickets_can_be_exported(root: httpx.AsyncClient, facts: Facts) -> None:
    await facts.alarm(note="第一行\n第二行", began_at=T0)
    period = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    (alarm,) = read("csv", (await root.get("/api/v1/exports/alarms", params=period)).content)
    assert (alarm["condition"], alarm["note"]) == ("emergency", "第一行\n第二行")
    for kind in ("csv", "parquet", "geojson"):
        answer = await root.get("/api/v1/exports/tickets", params=period | {"format": kind})
        assert answer.status_code == 200 and read(kind, answer.content) == []


async def test_alarms_and_tickets_are_chosen_as_in_the_lists(
    root: httpx.AsyncClient, facts: Facts, dsn: str, tmp_path: Path
) -> None:
    for condition, severity in (("emergency", 1), ("overspeed", 3), ("fatigue", 2)):
        await facts.alarm(condition=condition, severity=severity, began_at=T0)
    moments = T0 - timedelta(days=1), T0 + timedelta(days=1)
    period = {"from": moments[0].isoformat(), "to": moments[1].isoformat()}

    async def conditions(**filters: Any) -> list[str]:
        answer = await root.get("/api/v1/exports/alarms", params=period | filters)
        return sorted(row["condition"] for row in read("csv", answer.content))

    assert await conditions(condition="overspeed") == ["overspeed"]
    assert await conditions(severity=2) == ["fatigue"]
    assert len(await conditions(desk="free")) == 3
    assert await conditions(desk="handled") == await conditions(result="real") == []
    assert (await root.get("/api/v1/exports/tickets", params=period | {"state": "open"})).status_code == 200
    refused = await root.get("/api/v1/exports/positions", params=period | {"condition": "overspeed"})
    assert refused.status_code == 400 and refused.json()["code"] == "bad_filter"
    settings, path = Settings(database_url=dsn, data_dir=tmp_path), tmp_path / "alarms.csv"
    export_file(settings, "alarms", moments, path, filters=["condition=fatigue", "severity=2"])
    assert [row["condition"] for row in read("csv", path.read_bytes())] == ["fatigue"]
    for wrong in ("state=open", "severity", "severity=high"):
        with pytest.raises(SystemExit):
            export_file(settings, "alarms", moments, path, filters=[wrong])


async def test_exports_are_written_down_and_bounded(root: httpx.AsyncClient, vehicle: int) -> None:
    assert (await root.get("/api/v1/exports/positions")).status_code == 400
    backwards = {"from": PERIOD["to"], "to": PERIOD["from"]}
    assert (await root.get("/api/v1/exports/positions", params=backwards)).status_code == 400
    assert (await root.get("/api/v1/exports/secrets", params=PERIOD)).status_code == 422
    for _ in range(5):  # whoever hangs up in the middle leaves nothing behind
        async with root.stream("GET", "/api/v1/exports/positions", params=PERIOD) as answer:
            assert answer.status_code in (200, 429)

    async def free() -> bool:
        return (await root.get("/api/v1/exports/positions", params=PERIOD)).status_code == 200

    await until(free)
    entries = (await root.get("/api/v1/audit", params={"action": "export"})).json()["items"]
    assert entries and entries[0]["subject"] == "positions" and entries[0]["detail"]["format"] == "csv"


async def test_the_command_writes_whole_files(dsn: str, vehicle: int, facts: Facts, tmp_path: Path) -> None:
    settings = Settings(database_url=dsn, data_dir=tmp_path)
    period = (T0, T0 + timedelta(hours=1))
    path = tmp_path / "track.parquet"
    assert export_file(settings, "positions", period, path, plate="=辽A12345") == 0
    assert len(read("parquet", path.read_bytes())) == MINUTES
    assert names(tmp_path) == ["track.parquet"]
    for subject, name, plate in (
        ("secrets", "a.csv", None),
        ("positions", "a.xlsx", None),
        ("positions", "a.csv", "辽A00000"),
        ("positions", "no/such/folder/a.csv", None),
    ):
        with pytest.raises(SystemExit):
            export_file(settings, subject, period, tmp_path / name, plate=plate)
    assert names(tmp_path) == ["track.parquet"]


@pytest.fixture
async def much(facts: Facts, dsn: str) -> None:
    """More than all buffers between the database and a client hold."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        Placement().ensure(connection, [T0.date()])
        await facts.position(await facts.terminal(), T0)
        connection.execute(
            "CREATE TEMPORARY TABLE more AS SELECT p.* FROM position_records p, generate_series(1, 60000);"
            "CREATE TEMPORARY SEQUENCE number;"
            "UPDATE more SET placed_at = placed_at + nextval('number') * interval '1 ms';"
            "INSERT INTO position_records SELECT * FROM more"
        )


@asynccontextmanager
async def standing_export(monitor: Served, name: str) -> AsyncIterator[httpx.Response]:
    """An export of `name`, who reads no more than the header."""
    async with (
        monitor.client(name) as client,
        client.stream(
            "GET", "/api/v1/exports/positions", params=MUCH, headers={"Accept-Encoding": "identity"}
        ) as answer,
    ):
        assert answer.status_code == 200
        yield answer


def exporting(dsn: str) -> list[str]:
    """The states of sessions that export."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT state FROM pg_stat_activity WHERE application_name = 'northwatch-export'"
            " AND datname = current_database()"
        )
        return [row[0] for row in found]


async def nobody_exports(dsn: str) -> bool:
    return not exporting(dsn)


async def test_who_reads_slowly_holds_no_snapshot_and_nobody_else(
    monitor: Served, much: None, dsn: str, bo: httpx.AsyncClient
) -> None:
    async with standing_export(monitor, "anna"), standing_export(monitor, "root"):
        await until(lambda: nobody_exports(dsn))
        answer = await bo.get("/api/v1/exports/positions", params=MUCH)
        assert answer.status_code == 200 and answer.content.count(b'"Feature"') == 60_001


async def test_a_person_has_one_export(monitor: Served, much: None, anna: httpx.AsyncClient) -> None:
    async with standing_export(monitor, "anna"):
        refused = await anna.get("/api/v1/exports/positions", params=PERIOD)
        assert (refused.status_code, refused.json()["code"]) == (429, "busy")


@pytest.mark.parametrize("how", ["signed out", "too slow", "too long"])
async def test_an_export_is_cut_short(
    monitor: Served, much: None, dsn: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(spool, "SIZE", 1 << 20)
    monkeypatch.setattr(spool.Spool.__init__, "__defaults__", (None, 1 << 20))
    if how == "too slow":
        monkeypatch.setattr(spool, "PATIENCE_S", 0.2)
    if how == "too long":
        monkeypatch.setattr(downloads, "LASTS_S", 6.0)
    monkeypatch.setattr(routes_exports, "RECHECK_S", 0.2)
    async with standing_export(monitor, "anna") as answer:
        if how == "signed out":
            assert exporting(dsn)
            async with monitor.client("anna") as anna:
                assert (await anna.post("/api/v1/sign-out", json={})).status_code == 204
        await until(lambda: nobody_exports(dsn))
        with pytest.raises(httpx.RemoteProtocolError):  # never a file that looks whole
            async for _ in answer.aiter_bytes():
                pass
    async with monitor.client("root") as root:
        assert (await root.get("/api/v1/exports/alarms", params=PERIOD)).status_code == 200
