"""From the database to a real broker: nothing is missing, whatever dies; states are the database's."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from northwatch.events.broker import parse
from northwatch.events.publisher import EventOptions, Publisher
from store import alarms, desk, outbox
from store.grants import Process
from tests.databases import as_process
from tests.events.broker import BrokerServer, brokers, listening, retained, until
from tests.events.facts import (
    SECOND,
    T,
    ended,
    every_event,
    expected_states,
    fleet,
    opened,
    raised,
    tell_a_story,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerServer]:
    yield from brokers(tmp_path / "broker")


@pytest.fixture
def database(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    fleet(connection)
    return connection


@pytest.fixture
async def reader(dsn: str, database: object) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, row_factory=dict_row, options="-c TimeZone=UTC"
    ) as opened:
        yield opened


@asynccontextmanager
async def publishing(dsn: str, broker: BrokerServer, **options: Any) -> AsyncIterator[Publisher]:
    publisher = Publisher(EventOptions(parse(broker.url), **options), as_process(dsn, Process.EVENTS))
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        publisher.stop()
        await task


def start(dsn: str, broker: BrokerServer) -> subprocess.Popen[bytes]:
    """Start a publisher that can be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.events.process", as_process(dsn, Process.EVENTS), broker.url], cwd=ROOT
    )


async def states_are_those_of(reader: Any, broker: BrokerServer) -> bool:
    found = await retained(broker)
    found.pop("northwatch/platform", None)
    return found == await expected_states(reader)


async def joined(reader: Any) -> bool:
    cursor = await reader.execute("SELECT FROM outbox_consumers")
    return bool(cursor.rowcount)


async def test_nothing_is_missing_whatever_dies(
    dsn: str, broker: BrokerServer, database: psycopg.Connection[Any], reader: Any
) -> None:
    publisher = start(dsn, broker)
    try:
        async with listening(broker) as listener:
            await until(lambda: joined(reader))
            for number in range(96):
                tell_a_story(database, number)
                await asyncio.sleep(0.02)
                if number in (20, 60):
                    publisher.kill()
                    publisher.wait()
                    publisher = start(dsn, broker)
                if number in (40, 75):
                    broker.kill()
                    tell_a_story(database, 1000 + number)
                    broker.start()
            wanted = await every_event(reader)
            await until(lambda: listener.ids() >= wanted)
            await until(lambda: states_are_those_of(reader, broker))
        assert listener.ids() == wanted
        said: dict[str, dict[str, Any]] = {}
        for event in listener.events():
            assert said.setdefault(event["id"], event) == event  # a repetition says the same
        for kind in ("alarm", "ticket"):
            order = [(e["terminal"], int(e["id"].split("-")[1])) for e in said.values() if kind in e]
            for identity in {terminal for terminal, _ in order}:
                numbers = [number for terminal, number in order if terminal == identity]
                assert numbers == sorted(numbers)
    finally:
        publisher.kill()
        publisher.wait()
    assert not (await outbox.backlog(reader, outbox.MQTT)).rows


async def test_a_slow_transaction_is_not_skipped(
    dsn: str, broker: BrokerServer, database: psycopg.Connection[Any], reader: Any
) -> None:
    async with listening(broker) as listener, publishing(dsn, broker):
        await until(lambda: joined(reader))
        with psycopg.connect(dsn) as slow:
            alarms.apply(slow, [raised(1, T)])
            with database.transaction():
                alarms.apply(database, [raised(2, T)])
            await until(lambda: listener.ids() == {"alarm-2"})
            slow.commit()
        await until(lambda: listener.ids() == {"alarm-1", "alarm-2"})
        await until(lambda: states_are_those_of(reader, broker))


async def test_whoever_wrote_before_we_joined_is_waited_for(dsn: str, database: object, reader: Any) -> None:
    with psycopg.connect(dsn) as slow:
        alarms.apply(slow, [raised(1, T)])
        joining = asyncio.create_task(outbox.join(reader, outbox.MQTT))
        async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as other:
            await until(
                lambda: _rows(
                    other, "SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
                )
            )
        slow.commit()
    await joining
    assert [row["id"] for row in await outbox.open_states(reader, "alarm", 0, 10)] == [1]


async def _rows(connection: Any, query: str) -> int:
    cursor = await connection.execute(query)
    await connection.rollback()
    return int(cursor.rowcount)


async def test_without_a_consumer_nothing_is_written(database: psycopg.Connection[Any], reader: Any) -> None:
    for number in range(40):
        tell_a_story(database, number)
    assert await _count(reader) == 0
    await outbox.join(reader, outbox.MQTT)
    tell_a_story(database, 40)
    assert await _count(reader) > 0
    await outbox.leave(reader, outbox.MQTT)
    tell_a_story(database, 41)
    assert await _count(reader) == 0


async def test_one_that_is_gone_for_a_day_is_no_consumer(database: Any, reader: Any) -> None:
    await outbox.join(reader, outbox.MQTT)
    await reader.execute("UPDATE outbox_consumers SET seen_at = now() - interval '25 hours'")
    tell_a_story(database, 1)
    assert await _count(reader) == 0


async def _count(reader: Any) -> int:
    cursor = await reader.execute("SELECT count(*) AS count FROM outbox")
    return int((await cursor.fetchone())["count"])


@pytest.mark.parametrize("how", ["too many", "gone for a day", "left"])
async def test_what_was_closed_unheard_is_taken_away(
    how: str, dsn: str, broker: BrokerServer, database: psycopg.Connection[Any], reader: Any
) -> None:
    with database.transaction():
        alarms.apply(database, [raised(1, T), raised(2, T)])
    async with publishing(dsn, broker):
        await until(lambda: states_are_those_of(reader, broker))
    if how == "gone for a day":
        await reader.execute("UPDATE outbox_consumers SET seen_at = now() - interval '25 hours'")
    if how == "left":
        await outbox.leave(reader, outbox.MQTT)
    with database.transaction():
        alarms.apply(database, [ended(1, T + SECOND), raised(3, T)])
    assert "northwatch/terminals/A1/alarms/1" in await retained(broker)
    async with publishing(dsn, broker, max_rows=1 if how == "too many" else 1000) as publisher:
        await until(lambda: states_are_those_of(reader, broker))
        assert publisher.health()["dropped"] == (1 if how == "too many" else 0)


async def test_rows_are_given_up_when_they_are_old(database: Any, reader: Any) -> None:
    await outbox.join(reader, outbox.MQTT)
    tell_a_story(database, 1)
    before = await _count(reader)
    await reader.execute("UPDATE outbox SET written_at = now() - interval '8 days' WHERE id <= 2")
    cursor = await reader.execute("SELECT now() - interval '7 days' AS at")
    newer_than = (await cursor.fetchone())["at"]
    assert await outbox.trim(reader, outbox.MQTT, keep=1000, newer_than=newer_than) == 2
    assert await outbox.trim(reader, outbox.MQTT, keep=1000, newer_than=newer_than) == 0
    assert await _count(reader) == before - 2
    assert (await outbox.backlog(reader, outbox.MQTT)).dropped == 2


async def test_a_broker_that_forgot_everything_is_told_again(
    dsn: str, broker: BrokerServer, database: psycopg.Connection[Any], reader: Any
) -> None:
    async with publishing(dsn, broker) as publisher:
        for number in range(16):
            tell_a_story(database, number)
        await until(lambda: states_are_those_of(reader, broker))
        broker.kill()
        await until(lambda: not publisher.health()["ok"])
        assert "broker" in publisher.health()["error"]
        broker.forget()
        broker.start()
        await until(lambda: states_are_those_of(reader, broker))
        assert publisher.health()["ok"]
        assert (await retained(broker))["northwatch/platform"]["state"] == "online"
    assert (await retained(broker))["northwatch/platform"]["reason"] == "stopped"


async def test_the_broker_says_that_we_are_lost(dsn: str, broker: BrokerServer, reader: Any) -> None:
    publisher = start(dsn, broker)

    async def says(name: str, value: str) -> bool:
        return (await retained(broker)).get("northwatch/platform", {}).get(name) == value

    try:
        await until(lambda: says("states", "complete"))
    finally:
        publisher.kill()
        publisher.wait()
    await until(lambda: says("reason", "lost"))


async def test_what_people_do_is_told_with_their_name(
    dsn: str, broker: BrokerServer, database: psycopg.Connection[Any], reader: Any
) -> None:
    by = {"id": 1, "name": "li", "display_name": ""}
    async with listening(broker) as listener, publishing(dsn, broker):
        await until(lambda: joined(reader))
        with database.transaction():
            alarms.apply(database, [raised(1, T)])
        async with reader.transaction():
            await desk.lock_alarm(reader, 1)
            await desk.take_alarm(reader, 1, by)
        await until(lambda: len(listener.ids()) == 2)
        await until(lambda: states_are_those_of(reader, broker))
        assert (await retained(broker))["northwatch/terminals/A1/alarms/1"]["desk"] == "taken"
        async with reader.transaction():
            await desk.handle_alarm(reader, 1, by, result="real", note="called", ends=True)
        await until(lambda: len(listener.ids()) == 3)
        await until(lambda: states_are_those_of(reader, broker))
    said = listener.events()
    assert [event["event"] for event in said] == ["alarm.raised", "alarm.taken", "alarm.handled"]
    assert said[2]["by"]["name"] == "li" and said[2]["detail"] == {"result": "real", "note": "called"}
    assert said[2]["vehicle"] == {"plate": "辽A12345", "plate_color": 2}
    assert ("northwatch/terminals/A1/alarms/1", b"") in listener.heard


async def test_a_new_plate_is_told_with_every_state_that_names_it(
    dsn: str, broker: BrokerServer, database: psycopg.Connection[Any], reader: Any
) -> None:
    from store import tickets

    with database.transaction():
        alarms.apply(database, [raised(1, T)])
        tickets.apply(database, [opened(1, T)])
    async with publishing(dsn, broker):
        await until(lambda: states_are_those_of(reader, broker))
        database.execute("UPDATE vehicles SET plate = '辽B00001'")
        await until(lambda: states_are_those_of(reader, broker))
        database.execute("UPDATE installations SET removed_at = now()")
        await until(lambda: states_are_those_of(reader, broker))
        found = await retained(broker)
        assert found["northwatch/terminals/A1/link"]["vehicle"] is None
        assert found["northwatch/terminals/A1/alarms/1"]["vehicle"]["plate"] == "辽B00001"


async def test_only_one_publisher_is_at_work(dsn: str, broker: BrokerServer, reader: Any) -> None:
    async with publishing(dsn, broker) as first:
        await until(lambda: first.health()["connected"])
        async with publishing(dsn, broker) as second:
            await until(lambda: second.health()["standby"])
            assert second.health()["ok"] and not second.health()["connected"]
            first.stop()
            await until(lambda: second.health()["connected"])


def test_limits_are_what_the_documentation_says() -> None:
    options = EventOptions(parse("mqtt://broker"))
    assert (options.max_rows, options.max_age) == (1_000_000, timedelta(days=7))
