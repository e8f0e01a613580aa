"""Vehicles, terminals, the lobby, bindings, tracks."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import fleet
from store.placement import Placement
from store.quality import Quality
from store.refusals import BadCursor, Unacceptable
from store.select import decode_cursor, encode_cursor
from tests.monitor.facts import T0, Facts


async def test_vehicle_is_added_found_and_changed(root: httpx.AsyncClient) -> None:
    added = await root.post(
        "/api/v1/vehicles", json={"plate": "辽a·12345", "plate_color": 2, "owner": "鑫利龙", "vin": "LSV"}
    )
    assert added.status_code == 201
    vehicle = added.json()
    assert vehicle["plate"] == "辽A12345"
    assert vehicle["terminal"] is None
    again = await root.post("/api/v1/vehicles", json={"plate": "辽A12345", "plate_color": 2})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    for search, total in (("a123", 1), ("利龙", 1), ("%", 0), ("_", 0), ("other", 0)):
        found = (await root.get("/api/v1/vehicles", params={"search": search})).json()
        assert (search, found["total"], len(found["items"])) == (search, total, total)
    path = f"/api/v1/vehicles/{vehicle['id']}"
    changed = (await root.patch(path, json={"note": "two\nlines", "vin": ""})).json()
    assert changed == {**vehicle, "note": "two\nlines", "vin": None}
    assert (await root.get(path)).json() == changed


async def test_bad_vehicles_are_refused_with_the_field(root: httpx.AsyncClient) -> None:
    for body in (
        {},
        {"plate": ""},
        {"plate": " · "},
        {"plate": "x" * 33},
        {"plate": "辽A\x00"},
        {"plate": "辽A", "plate_color": "2"},
        {"plate": "辽A", "plate_color": 256},
        {"plate": "辽A", "colour": 1},
        {"plate": "辽A", "owner": None},
        [],
        "辽A",
    ):
        answer = await root.post("/api/v1/vehicles", json=body)
        assert (body, answer.status_code) == (body, 422)
        assert answer.json()["code"] == "invalid"
        assert answer.json()["errors"][0]["field"]


async def test_terminal_is_entered_in_any_spelling_once(root: httpx.AsyncClient) -> None:
    added = await root.post("/api/v1/terminals", json={"identity": "0139 1234-5678", "edition": "2019"})
    assert added.status_code == 201
    terminal = added.json()
    assert (terminal["identity"], terminal["known"], terminal["edition"]) == ("13912345678", True, "2019")
    assert (terminal["link"], terminal["mode"]) == ("closed", "unknown")
    again = await root.post("/api/v1/terminals", json={"identity": "13912345678"})
    assert again.json()["code"] == "already_exists"
    for identity in ("000", "x", "1" * 21):
        assert (await root.post("/api/v1/terminals", json={"identity": identity})).status_code == 422


async def test_lobby_claim_block_and_views(root: httpx.AsyncClient, facts: Facts) -> None:
    one, two, three = [await facts.terminal() for _ in range(3)]
    await facts.state(one)
    await facts.state(two, link="closed", silent_since=T0)

    async def view(name: str) -> list[int]:
        answer = await root.get("/api/v1/terminals", params={"view": name})
        assert answer.json()["total"] == len(answer.json()["items"])
        return [terminal["id"] for terminal in answer.json()["items"]]

    assert await view("lobby") == [one, two, three]
    claimed = await root.post(f"/api/v1/terminals/{one}/claim", json={"plate": "辽A1", "plate_color": 2})
    assert claimed.json()["vehicle"]["plate"] == "辽A1"
    assert claimed.json()["known"] is True
    await root.post(f"/api/v1/terminals/{two}/claim", json={})
    blocked = await root.post(f"/api/v1/terminals/{three}/block", json={"note": "stolen SIM"})
    assert (blocked.json()["blocked"], blocked.json()["note"]) == (True, "stolen SIM")
    assert await view("known") == [one, two]
    assert await view("lobby") == []
    assert await view("blocked") == [three]
    assert await view("bound") == [one]
    assert await view("unbound") == [two, three]
    assert await view("online") == [one]
    assert await view("silent") == [two]
    assert (await root.post(f"/api/v1/terminals/{three}/unblock")).json()["blocked"] is False
    assert (await root.get("/api/v1/terminals", params={"view": "broken"})).status_code == 422


async def test_strangers_in_alarm_are_a_view(root: httpx.AsyncClient, facts: Facts) -> None:
    quiet, notice, emergency, earlier, claimed = [
        await facts.terminal(authenticated_at=None) for _ in range(5)
    ]
    for terminal, bits in ((quiet, 0), (notice, 16), (emergency, 16 | 1), (earlier, 1), (claimed, 1)):
        await facts.state(terminal, alarm_bits=bits)
    await facts.connection.execute(
        "UPDATE terminal_states SET received_at = now() - (terminal_id = %s)::int * interval '1 hour'",
        (earlier,),
    )
    await root.post(f"/api/v1/terminals/{claimed}/claim", json={})
    found = (await root.get("/api/v1/terminals", params={"view": "alarming"})).json()["items"]
    said = {each["id"]: each["severity"] for each in found}
    assert said == {notice: 4, emergency: 1}
    assert (await root.get(f"/api/v1/terminals/{quiet}")).json()["severity"] is None


async def test_a_code_is_renewed_and_done_without(root: httpx.AsyncClient, facts: Facts) -> None:
    terminal = await facts.terminal("13912345678")
    path = f"/api/v1/terminals/{terminal}"
    for epoch in (1, 2):
        assert (await root.post(f"{path}/new-code")).json()["code_epoch"] == epoch
    shown = (await root.get(path)).json()
    assert (shown["known"], shown["speaks_without_code"]) == (False, False)
    for allowed in (True, False):
        shown = (await root.put(f"{path}/without-code", json={"allowed": allowed})).json()
        assert (shown["known"], shown["speaks_without_code"]) == (True, allowed), "a person answers for it"
    for method, part in (("POST", "new-code"), ("PUT", "without-code")):
        answer = await root.request(method, f"/api/v1/terminals/99/{part}", json={"allowed": True})
        assert answer.status_code == 404
    audited = (await root.get("/api/v1/audit")).json()["items"]
    assert [each["action"] for each in audited if each["action"].startswith("terminal.")] == [
        "terminal.without_code_forbidden",
        "terminal.without_code_allowed",
        "terminal.code_renewed",
        "terminal.code_renewed",
    ]


async def test_a_clone_is_shown_for_a_day(root: httpx.AsyncClient, facts: Facts) -> None:
    cloned, over = await facts.terminal(), await facts.terminal()
    for terminal, ago in ((cloned, "1 hour"), (over, "2 days")):
        await facts.connection.execute(
            "INSERT INTO clones VALUES (%s, now() - %s::interval, now() - %s::interval, %s, %s, 3)",
            (terminal, ago, ago, ["192.0.2.1:1", "192.0.2.2:2"], [5, 7]),
        )
    clone = (await root.get(f"/api/v1/terminals/{cloned}")).json()["clone"]
    assert (clone["peers"], clone["frames"]) == (["192.0.2.1:1", "192.0.2.2:2"], [5, 7])
    assert clone["take_overs"] == 3 and clone["began_at"] == clone["last_seen_at"]
    assert (await root.get(f"/api/v1/terminals/{over}")).json()["clone"] is None
    found = (await root.get("/api/v1/terminals", params={"view": "cloned"})).json()
    assert [each["id"] for each in found["items"]] == [cloned]


async def test_binding_is_exclusive_and_has_a_history(root: httpx.AsyncClient, facts: Facts) -> None:
    terminal, spare = await facts.terminal("100"), await facts.terminal("200")
    vehicle, other = await facts.vehicle("辽A1"), await facts.vehicle("辽A2")

    async def bind(terminal_id: int, vehicle_id: int) -> httpx.Response:
        return await root.post(f"/api/v1/terminals/{terminal_id}/bind", json={"vehicle_id": vehicle_id})

    assert (await bind(terminal, vehicle)).json()["vehicle"]["plate"] == "辽A1"
    assert (await bind(terminal, vehicle)).status_code == 200
    elsewhere = await bind(terminal, other)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "already_bound")
    assert "辽A1" in elsewhere.json()["detail"]
    second = await bind(spare, vehicle)
    assert "has the terminal 100" in second.json()["detail"]
    assert (await root.post(f"/api/v1/terminals/{terminal}/unbind")).json()["vehicle"] is None
    assert (await root.post(f"/api/v1/terminals/{terminal}/unbind")).json()["code"] == "not_bound"
    assert (await bind(spare, vehicle)).status_code == 200
    history = (await root.get(f"/api/v1/vehicles/{vehicle}/installations")).json()["items"]
    assert [(each["terminal"]["identity"], each["removed_at"] is None) for each in history] == [
        ("200", True),
        ("100", False),
    ]
    assert (await bind(spare, 999)).json()["code"] == "not_found"


async def test_two_bind_the_same_vehicle_at_once(root: httpx.AsyncClient, facts: Facts) -> None:
    vehicle = await facts.vehicle()
    terminals = [await facts.terminal() for _ in range(5)]
    answers = await asyncio.gather(
        *(root.post(f"/api/v1/terminals/{each}/bind", json={"vehicle_id": vehicle}) for each in terminals)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


async def test_pages_hold_everything_once(root: httpx.AsyncClient, facts: Facts) -> None:
    plates = sorted(f"辽{letter}{number}" for letter in "ABC" for number in range(5))
    for plate in plates:
        await facts.vehicle(plate)
    await facts.vehicle("辽A0", plate_color=1)
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await root.get("/api/v1/vehicles", params=params)).json()
        assert page["total"] == 16
        seen += [vehicle["plate"] for vehicle in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == sorted([*plates, "辽A0"])


async def test_link_history(root: httpx.AsyncClient, facts: Facts) -> None:
    terminal = await facts.terminal()
    for number, event in enumerate(("opened", "idle", "opened")):
        await facts.link_event(terminal, T0 + timedelta(minutes=number), event, 2**62 + number)
    path = f"/api/v1/terminals/{terminal}/links"
    first = (await root.get(path, params={"limit": 2})).json()
    assert [each["event"] for each in first["items"]] == ["opened", "idle"]
    assert first["items"][0]["session"] == str(2**62 + 2)
    rest = (await root.get(path, params={"limit": 2, "cursor": first["next"]})).json()
    assert [each["at"] for each in rest["items"]] == ["2026-03-01T08:00:00Z"]
    assert (await root.get("/api/v1/terminals/999/links")).status_code == 404


async def test_track_follows_the_vehicle_through_its_terminals(
    root: httpx.AsyncClient, facts: Facts, dsn: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        Placement().ensure(connection, [T0.date()])
    old, new = await facts.terminal(), await facts.terminal()
    vehicle = await facts.vehicle()
    change = T0 + timedelta(minutes=50)
    await facts.installed(old, vehicle, T0, change)
    await facts.installed(new, vehicle, change)
    for minute in range(100):
        at = T0 + timedelta(minutes=minute)
        await facts.position(old, at, speed_kmh=float(minute))
        await facts.position(new, at, speed_kmh=float(minute))
    for seconds, values in enumerate(({"quality": int(Quality.NO_FIX)}, {"lat": None}, {"lon": 4294.9}), 1):
        await facts.position(old, T0 + timedelta(minutes=1, seconds=seconds), **values)
    period = {"from": T0.isoformat(), "to": (T0 + timedelta(hours=3)).isoformat()}
    track = (await root.get(f"/api/v1/vehicles/{vehicle}/track", params=period)).json()
    assert (track["total"], track["tolerance_m"]) == (100, 0.0)
    assert [point["speed_kmh"] for point in track["points"]] == [float(minute) for minute in range(100)]
    assert track["from"] == "2026-03-01T08:00:00Z"
    coarse = (await root.get(f"/api/v1/vehicles/{vehicle}/track", params={**period, "limit": 30})).json()
    assert coarse["total"] == 100 and coarse["tolerance_m"] > 0
    assert [point["speed_kmh"] for point in coarse["points"]] == [0.0, 99.0]  # it stood in one place
    alone = (await root.get(f"/api/v1/terminals/{new}/track", params=period)).json()
    assert alone["total"] == 100
    assert (await root.get("/api/v1/vehicles/999/track", params=period)).status_code == 404


async def test_period_must_make_sense(root: httpx.AsyncClient) -> None:
    for period, status in (
        ({"from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"}, 400),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}, 400),
        ({"from": "9999-12-31T23:00:00Z"}, 400),
        ({"to": "0001-01-01T00:00:00Z"}, 400),
        ({"from": "2026-03-01T00:00:00"}, 422),
        ({"from": "1772352000"}, 422),
        ({"from": "yesterday"}, 422),
        ({}, 404),
    ):
        answer = await root.get("/api/v1/vehicles/1/track", params=period)
        assert (period, answer.status_code) == (period, status)


@given(st.text())
def test_identity_is_hex_without_leading_zeros_or_refused(text: str) -> None:
    try:
        identity = fleet.clean_identity(text)
    except Unacceptable:
        return
    assert identity == identity.upper().lstrip("0")
    assert 1 <= len(bytes.fromhex(identity.zfill(20))) <= 10
    assert fleet.clean_identity("000" + identity.lower()) == identity


@given(
    st.integers(0, 2**63 - 1),
    st.datetimes(timezones=st.just(UTC)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=64),
)
def test_cursor_brings_back_its_key(number: int, at: datetime, text: str) -> None:
    assert decode_cursor(encode_cursor([number, at, text]), (int, datetime, str)) == [number, at, text]


@given(st.text() | st.binary().map(lambda data: encode_cursor([str(data)])))
def test_any_other_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(text, (int, int))
