"""Doubts about reports by name, and legal holds."""

from datetime import timedelta

import httpx

from store.quality import MEANINGS, Quality
from tests.monitor.facts import T0, Facts


async def _a_day(facts: Facts) -> None:
    kind = await facts.one("SELECT relkind FROM pg_class WHERE oid = 'position_records'::regclass")
    if kind["relkind"] == "p":
        name = f"position_records_{T0:%Y%m%d}"
        await facts.connection.execute(
            f"CREATE TABLE {name} PARTITION OF position_records"  # type: ignore[arg-type]
            f" FOR VALUES FROM ('{T0:%Y-%m-%d}Z') TO ('{T0 + timedelta(days=1):%Y-%m-%d}Z')"
        )


async def test_doubtful_reports_are_found_by_reason(root: httpx.AsyncClient, facts: Facts) -> None:
    await _a_day(facts)
    terminal = await facts.terminal()
    doubts = [0, Quality.DRIFT, Quality.STUCK | Quality.DRIFT, Quality.NO_FIX]
    for second, quality in enumerate(doubts):
        await facts.position(terminal, T0 + timedelta(seconds=second), quality=int(quality))
    path = f"/api/v1/terminals/{terminal}/doubtful"
    period = {"from": T0.isoformat(), "to": (T0 + timedelta(hours=1)).isoformat()}
    everything = (await root.get(path, params=period)).json()
    assert [each["reasons"] for each in everything["items"]] == [["no_fix"], ["drift", "stuck"], ["drift"]]
    found, cursor = [], None
    while True:
        params = {**period, "reason": "drift", "limit": 1, **({"cursor": cursor} if cursor else {})}
        page = (await root.get(path, params=params)).json()
        found += [each["quality"] for each in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert found == [Quality.STUCK | Quality.DRIFT, Quality.DRIFT]
    wrong = await root.get(path, params={**period, "reason": "odd"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_reason")
    assert (await root.get("/api/v1/terminals/999/doubtful")).status_code == 404


async def test_every_bit_has_a_name_in_two_languages(anna: httpx.AsyncClient) -> None:
    items = (await anna.get("/api/v1/quality")).json()["items"]
    assert (
        {each["bit"] for each in items} == {int(each) for each in Quality} == {int(each) for each in MEANINGS}
    )
    assert all(each["name"] and each["zh"] and each["en"] for each in items)


async def test_an_admin_places_and_releases_a_hold(
    root: httpx.AsyncClient, anna: httpx.AsyncClient, facts: Facts
) -> None:
    vehicle = (await root.post("/api/v1/vehicles", json={"plate": "辽A12345"})).json()
    wanted = {
        "vehicle_id": vehicle["id"],
        "begins_at": T0.isoformat(),
        "ends_at": (T0 + timedelta(days=2)).isoformat(),
        "reason": "accident 42, traffic police",
    }
    assert (await anna.post("/api/v1/holds", json=wanted)).status_code == 403
    placed = await root.post("/api/v1/holds", json=wanted)
    assert placed.status_code == 201 and placed.json()["placed_by"] == "root"
    listed = (await anna.get("/api/v1/holds", params={"in_force": True, "vehicle_id": vehicle["id"]})).json()
    assert listed["items"] == [placed.json()]
    released = (await root.post(f"/api/v1/holds/{placed.json()['id']}/release")).json()
    assert released["released_by"] == "root" and released["released_at"]
    assert not (await anna.get("/api/v1/holds", params={"in_force": True})).json()["items"]
    for wrong, status in (
        ({**wanted, "ends_at": wanted["begins_at"]}, 422),
        ({**wanted, "reason": "  "}, 422),
        ({**wanted, "vehicle_id": 9999}, 404),
    ):
        assert (await root.post("/api/v1/holds", json=wrong)).status_code == status
    actions = [each["action"] for each in (await root.get("/api/v1/audit")).json()["items"]]
    assert actions[:2] == ["hold.released", "hold.placed"]
