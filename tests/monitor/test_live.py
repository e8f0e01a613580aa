"""The live picture: snapshot, deltas, and who may not look."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from monitor import live
from monitor.live import Viewer
from monitor.models import Alarm, Ticket
from monitor.routes.live import LiveSnapshot
from monitor.signing import COOKIE
from store import fleet, people
from store.live import TerminalState, states
from store.select import Connection
from tests.monitor.conftest import PATIENCE_S, Served, until
from tests.monitor.facts import Facts


@asynccontextmanager
async def watch(
    monitor: Served, name: str | None, authority: Path | None = None, **headers: str
) -> AsyncIterator[ClientConnection]:
    """Open the WebSocket as a browser of `name` would, over TLS with an authority."""
    tls = ssl.create_default_context(cafile=authority) if authority else None
    given = {"Origin": f"http{'s' if tls else ''}://{monitor.host}", **headers}
    if name:
        given["Cookie"] = f"{COOKIE}={monitor.cookies[name]}"
    url = f"ws{'s' if tls else ''}://{monitor.host}/api/v1/live"
    async with connect(url, additional_headers=given, max_size=None, proxy=None, ssl=tls) as opened:
        yield opened


async def message(opened: ClientConnection, kind: str) -> dict[str, Any]:
    """Wait for the next message of a kind."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            got: dict[str, Any] = json.loads(await opened.recv())
            if got["type"] == kind:
                return got


async def complete(client: httpx.AsyncClient) -> dict[str, Any]:
    """Wait for the first picture."""

    async def look() -> dict[str, Any] | None:
        answer = await client.get("/api/v1/live")
        return answer.json() if answer.status_code == 200 else None

    return await until(look)


async def placed(client: httpx.AsyncClient, terminal: int) -> None:
    """Wait until the picture has the terminal's first state, which would come as news otherwise."""

    async def look() -> bool:
        picture = await complete(client)
        return any(each["terminal_id"] == terminal and each["lat"] is not None for each in picture["states"])

    await until(look)


async def test_snapshot_shows_every_terminal_the_desk_and_open_tickets(
    facts: Facts, anna: httpx.AsyncClient
) -> None:
    await complete(anna)
    moving, never = await facts.terminal("100"), await facts.terminal("200")
    await facts.installed(moving, await facts.vehicle("辽A1"))
    await facts.state(moving, speed_kmh=61.5, alarm_bits=2**31 + 1)
    alarm, ticket = await facts.alarm(moving), await facts.ticket(never)
    await facts.connection.execute("SELECT pg_notify('northwatch_live', 'fleet')")

    async def with_ticket() -> dict[str, Any] | None:
        seen = await complete(anna)
        return seen if seen["tickets"] else None

    picture = await until(with_ticket)
    LiveSnapshot.model_validate(picture)
    by_identity = {state["identity"]: state for state in picture["states"]}
    assert by_identity["100"]["plate"] == "辽A1"
    assert by_identity["100"]["speed_kmh"] == 61.5
    assert by_identity["100"]["alarm_bits"] == 2**31 + 1
    assert by_identity["100"]["fix_at"] == "2026-03-01T08:00:00Z"
    assert by_identity["200"]["mode"] == "unknown" and by_identity["200"]["plate"] is None
    one = (await anna.get(f"/api/v1/alarms/{alarm}")).json()
    assert picture["alarms"] == [{name: one[name] for name in Alarm.model_fields}]
    one = (await anna.get(f"/api/v1/tickets/{ticket}")).json()
    assert picture["tickets"] == [{name: one[name] for name in Ticket.model_fields}]


async def test_strangers_are_counted_and_not_in_the_picture(facts: Facts, anna: httpx.AsyncClient) -> None:
    known = await facts.terminal("100")
    await facts.connection.execute("UPDATE terminals SET authenticated_at = now() WHERE id = %s", (known,))
    await facts.connection.execute(
        "INSERT INTO terminals (identity) SELECT 'F' || n FROM generate_series(1, 30) n"
    )
    await facts.connection.execute(  # an emergency, a notice, nothing, and an emergency of an hour ago
        "INSERT INTO terminal_states (terminal_id, alarm_bits, received_at)"
        " SELECT id, (ARRAY[1, 2, 0, 1])[1 + id % 4],"
        "        now() - (id % 4 / 3) * interval '1 hour'"
        "   FROM terminals WHERE identity LIKE 'F%'"
    )
    await facts.connection.execute("SELECT pg_notify('northwatch_live', 'fleet')")

    async def counted() -> dict[str, Any] | None:
        figures: dict[str, Any] = (await anna.get("/api/v1/health")).json()["figures"]
        return figures if figures["strangers_in_alarm"] else None

    figures = await until(counted)
    assert figures["strangers"] == 30
    assert 14 <= figures["strangers_in_alarm"] <= 16 and 7 <= figures["strangers_in_emergency"] <= 8
    picture = await complete(anna)
    assert "100" in {state["identity"] for state in picture["states"]}
    assert not [state for state in picture["states"] if state["identity"].startswith("F")]


async def test_who_is_forgotten_leaves_the_picture(
    monitor: Served, facts: Facts, anna: httpx.AsyncClient
) -> None:
    terminal = await facts.terminal("100")
    await facts.connection.execute("UPDATE terminals SET known = true WHERE id = %s", (terminal,))
    await facts.connection.execute("SELECT pg_notify('northwatch_live', 'fleet')")

    async def is_there(expected: bool) -> bool | None:
        found = {state["identity"] for state in (await complete(anna))["states"]}
        return True if ("100" in found) is expected else None

    await until(lambda: is_there(True))
    await facts.connection.execute("UPDATE terminals SET forgotten = true WHERE id = %s", (terminal,))
    await facts.connection.execute("SELECT pg_notify('northwatch_live', 'facts')")
    await until(lambda: is_there(False))


async def test_viewer_sees_the_story_go_by(
    monitor: Served, facts: Facts, anna: httpx.AsyncClient, root: httpx.AsyncClient
) -> None:
    terminal = await facts.terminal("100")
    vehicle = await facts.vehicle("辽A1")
    await facts.state(terminal)
    await placed(anna, terminal)
    async with watch(monitor, "bo") as screen:
        snapshot = await message(screen, "snapshot")
        sequences = [snapshot["sequence"]]

        async def following(kind: str) -> list[dict[str, Any]]:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    got = json.loads(await screen.recv())
                    sequences.append(got["sequence"])
                    if got["type"] == kind:
                        things: list[dict[str, Any]] = got[kind]
                        return things

        await facts.state(terminal, lat=41.9)
        await facts.tell()
        assert [(state["lat"], state["plate"]) for state in await following("states")] == [(41.9, None)]
        await root.post(f"/api/v1/terminals/{terminal}/bind", json={"vehicle_id": vehicle})
        assert [state["plate"] for state in await following("states")] == ["辽A1"]
        await root.post(f"/api/v1/terminals/{terminal}/unbind")
        assert [state["plate"] for state in await following("states")] == [None]
        alarm = await facts.alarm(terminal)
        await facts.tell()
        assert [(each["id"], each["desk"]) for each in await following("alarms")] == [(alarm, "free")]
        await anna.post(f"/api/v1/alarms/{alarm}/take")
        assert [each["taken_by"]["name"] for each in await following("alarms")] == ["anna"]
        await anna.post(f"/api/v1/alarms/{alarm}/handle", json={"result": "real"})
        assert [each["desk"] for each in await following("alarms")] == ["handled"]
        ticket = await facts.ticket(terminal)
        await facts.tell()
        assert [each["id"] for each in await following("tickets")] == [ticket]
        await anna.post(f"/api/v1/tickets/{ticket}/close", json={"note": "it is back"})
        assert [each["state"] for each in await following("tickets")] == ["closed"]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    after = await complete(anna)
    assert (after["alarms"], after["tickets"]) == ([], [])


async def test_nothing_changes_nothing_is_told_but_health(
    monitor: Served, facts: Facts, anna: httpx.AsyncClient
) -> None:
    terminal = await facts.terminal()
    await facts.state(terminal)
    await placed(anna, terminal)
    async with watch(monitor, "anna") as screen:
        await message(screen, "snapshot")
        await facts.state(terminal, lat=42.0)
        await message(screen, "states")
        for _ in range(3):  # wake it up for nothing
            await facts.connection.execute("SELECT pg_notify('northwatch_live', 'fleet')")
            await asyncio.sleep(0.5)
        await facts.state(terminal, lat=43.0)
        got = await message(screen, "states")
        assert [state["lat"] for state in got["states"]] == [43.0]


@pytest.mark.parametrize(
    ("name", "headers", "code"),
    [
        (None, {}, live.CLOSE_NOT_SIGNED_IN),
        ("anna", {"Origin": "https://evil.example"}, live.CLOSE_WRONG_ORIGIN),
        ("anna", {"Origin": "null"}, live.CLOSE_WRONG_ORIGIN),
    ],
)
async def test_who_may_not_look_is_sent_away(
    monitor: Served, name: str | None, headers: dict[str, str], code: int
) -> None:
    async with watch(monitor, name, **headers) as screen:
        with pytest.raises(ConnectionClosed):
            await screen.recv()
        assert screen.close_code == code
    assert not monitor.app.state.center.live.viewers


async def test_a_session_has_only_so_many_screens(monitor: Served, anna: httpx.AsyncClient) -> None:
    await complete(anna)
    async with AsyncExitStack() as open_screens:
        for _ in range(live.MAX_VIEWERS_PER_SESSION):
            await message(await open_screens.enter_async_context(watch(monitor, "anna")), "snapshot")
        async with watch(monitor, "anna") as screen:
            with pytest.raises(ConnectionClosed):
                await screen.recv()
            assert screen.close_code == live.CLOSE_TRY_LATER
        async with watch(monitor, "bo") as screen:
            await message(screen, "snapshot")
    places = monitor.app.state.center.live.places

    async def free() -> bool:
        return not places._by_session

    await until(free)


async def test_viewer_who_is_signed_out_must_go(
    monitor: Served, db: Connection, anna: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.routes.live.RECHECK_S", 0.2)
    await complete(anna)
    async with watch(monitor, "anna") as screen, watch(monitor, "bo") as other:
        await message(screen, "snapshot")
        user = await people.user_named(db, "anna")
        await people.end_sign_ins(db, user["id"])
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ConnectionClosed):
                while True:
                    await screen.recv()
        assert screen.close_code == live.CLOSE_NOT_SIGNED_IN
        await message(other, "snapshot")


async def test_viewer_whose_sign_in_ends_must_go(
    monitor: Served, db: Connection, anna: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it is looked at next, and whether or not the database could be asked by then."""
    monkeypatch.setattr("monitor.routes.live.RECHECK_S", 3600.0)
    await complete(anna)
    await db.execute("UPDATE sign_ins SET expires_at = now() + interval '5 seconds'")
    async with watch(monitor, "anna") as screen:
        await message(screen, "snapshot")
        await db.execute("ALTER TABLE sign_ins RENAME TO away")
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ConnectionClosed):
                while True:
                    await screen.recv()
        assert screen.close_code == live.CLOSE_NOT_SIGNED_IN


async def test_viewer_who_never_reads_is_dropped_and_the_others_go_on(
    monitor: Served, facts: Facts, anna: httpx.AsyncClient
) -> None:
    picture = monitor.app.state.center.live
    await complete(anna)
    async with watch(monitor, "bo") as screen:
        await message(screen, "snapshot")
        slow = await _deaf_viewer(monitor, "anna")
        try:

            async def both() -> bool:
                return len(picture.viewers) == 2

            await until(both)
            filler = "x" * 1_000_000
            async with asyncio.timeout(PATIENCE_S):
                while len(picture.viewers) == 2:
                    picture._publish("noise", {"noise": filler})
                    assert json.loads(await screen.recv())
        finally:
            slow.close()
        terminal = await facts.terminal()
        await facts.state(terminal)
        assert (await message(screen, "states"))["states"]


async def _deaf_viewer(monitor: Served, name: str) -> socket.socket:
    """A viewer that opens its WebSocket and never reads a byte."""
    host, port = monitor.host.split(":")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setblocking(False)
    await asyncio.get_running_loop().sock_connect(deaf, (host, int(port)))
    request = (
        f"GET /api/v1/live HTTP/1.1\r\nHost: {monitor.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Cookie: {COOKIE}={monitor.cookies[name]}\r\n\r\n"
    )
    await asyncio.get_running_loop().sock_sendall(deaf, request.encode())
    return deaf


def test_queue_of_a_viewer_is_bounded() -> None:
    viewer = Viewer("snapshot")
    for _ in range(live.MAX_BEHIND - 1):
        viewer.tell("news")
    assert not viewer.gone.is_set()
    viewer.tell("one too many")
    assert viewer.gone.is_set() and viewer.close_code == live.CLOSE_TOO_SLOW


async def test_states_of_a_transaction_that_commits_late_are_not_missed(
    dsn: str, db: Connection, facts: Facts
) -> None:
    """A cursor over `updated_at` would lose them: it is the time at which the transaction began."""
    early, late = await facts.terminal(), await facts.terminal()
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as slow:
        await Facts(slow).state(early, lat=1.0)
        await facts.state(late, lat=2.0)
        seen, horizon = await _read(db, None)
        assert {each: state.lat for each, state in seen.items()} == {early: None, late: 2.0}
        await slow.commit()
    seen, horizon = await _read(db, horizon)
    assert {each: state.lat for each, state in seen.items()} == {early: 1.0, late: 2.0}
    await _nothing_new(db, horizon)


async def test_what_a_terminal_is_called_belongs_to_its_state(db: Connection, facts: Facts) -> None:
    terminal, vehicle = await facts.terminal(), await facts.vehicle("辽A1")
    await facts.state(terminal, lat=1.0)
    _, horizon = await _read(db, None)

    async def shown() -> tuple[str | None, bool, float | None]:
        nonlocal horizon
        seen, horizon = await _read(db, horizon)
        return seen[terminal].plate, seen[terminal].blocked, seen[terminal].lat

    await fleet.bind(db, terminal, vehicle, by="test")
    assert await shown() == ("辽A1", False, 1.0)
    await fleet.edit_vehicle(db, vehicle, {"plate": "辽A2"}, by="test")
    assert await shown() == ("辽A2", False, 1.0)
    await fleet.unbind(db, terminal, by="test")
    assert await shown() == (None, False, 1.0)
    await fleet.block_terminal(db, terminal, note=None, by="test")
    assert await shown() == (None, True, 1.0)
    await _nothing_new(db, horizon)


async def _read(connection: Connection, horizon: str | None) -> tuple[dict[int, TerminalState], str]:
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        seen, _, horizon = await states(connection, horizon)
    return {state.terminal_id: state for state in seen}, horizon


async def _nothing_new(connection: Connection, horizon: str) -> None:
    """Wait until nothing is new: while any transaction of the server runs, more is read than must be."""

    async def is_still() -> bool:
        nonlocal horizon
        seen, horizon = await _read(connection, horizon)
        return not seen

    await until(is_still)


async def test_impossible_coordinates_reach_no_map(
    db: Connection, facts: Facts, anna: httpx.AsyncClient
) -> None:
    terminal = await facts.terminal()
    await facts.state(terminal, lat=4294.9, lon=10.0)
    alarm = await facts.alarm(terminal, lat=1.0, lon=float("nan"))
    state = (await _read(db, None))[0][terminal]
    assert (state.lat, state.lon, state.fix_at is None) == (None, None, False)
    shown = (await anna.get(f"/api/v1/alarms/{alarm}")).json()
    assert (shown["lat"], shown["lon"]) == (None, None)
