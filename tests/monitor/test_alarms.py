"""The alarm desk over HTTP: lists, moves, races."""

import asyncio
from datetime import timedelta

import httpx

from store.select import Connection
from tests.monitor.facts import T0, Facts


async def test_desk_is_ordered_by_severity_and_then_newest_first(
    anna: httpx.AsyncClient, facts: Facts
) -> None:
    late = await facts.alarm(severity=3, condition="overspeed", began_at=T0 + timedelta(hours=2))
    early = await facts.alarm(severity=1, began_at=T0)
    newer = await facts.alarm(severity=1, began_at=T0 + timedelta(hours=1))
    await facts.alarm(on_desk=False)
    seen: list[int] = []
    cursor: str | None = None
    while True:
        params = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = (await anna.get("/api/v1/alarms", params=params)).json()
        seen += [alarm["id"] for alarm in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == [newer, early, late]
    history = (await anna.get("/api/v1/alarms", params={"view": "history"})).json()["items"]
    assert len(history) == 4
    assert [alarm["began_at"] for alarm in history] == sorted(
        (alarm["began_at"] for alarm in history), reverse=True
    )


async def test_filters(anna: httpx.AsyncClient, facts: Facts) -> None:
    terminal, vehicle = await facts.terminal(), await facts.vehicle()
    one = await facts.alarm(terminal, vehicle_id=vehicle, condition="overspeed", severity=2)
    two = await facts.alarm(condition="emergency", ended_at=T0 + timedelta(days=1))
    await anna.post(f"/api/v1/alarms/{two}/take")

    async def ids(**params: object) -> list[int]:
        answer = await anna.get("/api/v1/alarms", params={"view": "history", **params})  # type: ignore[arg-type]
        return sorted(alarm["id"] for alarm in answer.json()["items"])

    assert await ids() == [one, two]
    assert await ids(terminal_id=terminal) == [one]
    assert await ids(vehicle_id=vehicle) == [one]
    assert await ids(condition="emergency") == [two]
    assert await ids(severity=2) == [one]
    assert await ids(desk="taken") == [two]
    assert await ids(desk="free") == [one]
    assert await ids(view="open") == [one]
    assert await ids(**{"from": (T0 + timedelta(days=1)).isoformat()}) == []
    assert await ids(result="real") == []


async def test_alarm_is_taken_and_handled_and_remembers_it(anna: httpx.AsyncClient, facts: Facts) -> None:
    alarm_id = await facts.alarm()
    path = f"/api/v1/alarms/{alarm_id}"
    taken = await anna.post(f"{path}/take")
    assert (taken.json()["desk"], taken.json()["taken_by"]["name"]) == ("taken", "anna")
    assert (await anna.post(f"{path}/take")).json() == taken.json()
    handled = await anna.post(f"{path}/handle", json={"result": "real", "note": "司机已求助\n已报警 110"})
    assert handled.status_code == 200
    alarm = (await anna.get(path)).json()
    assert (alarm["desk"], alarm["result"], alarm["note"]) == ("handled", "real", "司机已求助\n已报警 110")
    assert alarm["handled_by"]["name"] == "anna"
    assert alarm["ended_at"] is not None
    assert [(change["change"], change["by"] and change["by"]["name"]) for change in alarm["changes"]] == [
        ("raised", None),
        ("taken", "anna"),
        ("handled", "anna"),
    ]
    assert (await anna.get("/api/v1/alarms")).json()["items"] == []


async def test_handling_ends_only_what_the_terminal_never_ends(anna: httpx.AsyncClient, facts: Facts) -> None:
    for ends, has_ended in (("by_terminal", False), ("by_operator", True)):
        alarm_id = await facts.alarm(ends=ends, condition=f"ends {ends}")
        await anna.post(f"/api/v1/alarms/{alarm_id}/take")
        handled = (await anna.post(f"/api/v1/alarms/{alarm_id}/handle", json={"result": "test"})).json()
        assert (ends, handled["ended_at"] is not None) == (ends, has_ended)


async def test_alarm_from_a_clock_ahead_of_ours_can_be_handled(anna: httpx.AsyncClient, facts: Facts) -> None:
    alarm_id = await facts.alarm(began_at=T0 + timedelta(days=5000))
    await anna.post(f"/api/v1/alarms/{alarm_id}/take")
    handled = await anna.post(f"/api/v1/alarms/{alarm_id}/handle", json={"result": "other"})
    assert handled.json()["ended_at"] == handled.json()["began_at"]


async def test_what_another_has_is_left_alone_except_by_an_admin(
    anna: httpx.AsyncClient, bo: httpx.AsyncClient, root: httpx.AsyncClient, facts: Facts
) -> None:
    alarm_id = await facts.alarm()
    path = f"/api/v1/alarms/{alarm_id}"
    await anna.post(f"{path}/take")
    for action, body in (("take", None), ("release", None), ("handle", {"result": "real"})):
        refused = await bo.post(f"{path}/{action}", json=body)
        assert (action, refused.status_code) == (action, 409)
        assert refused.json()["code"] == "not_allowed_now"
        assert refused.json()["current"]["taken_by"]["name"] == "anna"
        assert "anna" in refused.json()["detail"]
    assert (await root.post(f"{path}/release")).json()["desk"] == "free"
    assert (await bo.post(f"{path}/release")).status_code == 409
    assert (await bo.post(f"{path}/handle", json={"result": "real"})).status_code == 409
    assert (await bo.post(f"{path}/take")).status_code == 200
    assert (await root.post(f"{path}/handle", json={"result": "false_alarm"})).json()["handled_by"][
        "name"
    ] == "root"
    assert (await bo.post(f"{path}/take")).status_code == 409


async def test_handling_needs_a_result(anna: httpx.AsyncClient, facts: Facts) -> None:
    alarm_id = await facts.alarm()
    await anna.post(f"/api/v1/alarms/{alarm_id}/take")
    for body in ({}, {"result": "nothing"}, {"result": "real", "note": 5}, {"result": None}):
        answer = await anna.post(f"/api/v1/alarms/{alarm_id}/handle", json=body)
        assert (body, answer.status_code) == (body, 422)


async def test_of_two_who_take_at_once_exactly_one_gets_it(
    anna: httpx.AsyncClient, bo: httpx.AsyncClient, facts: Facts, db: Connection
) -> None:
    for _ in range(10):
        alarm_id = await facts.alarm()
        path = f"/api/v1/alarms/{alarm_id}/take"
        answers = await asyncio.gather(*(who.post(path) for who in (anna, bo) for _ in range(3)))
        winners = {answer.json()["taken_by"]["name"] for answer in answers if answer.status_code == 200}
        assert len(winners) == 1
        assert [answer.status_code for answer in answers].count(409) == 3
        cursor = await db.execute(
            "SELECT count(*) AS n FROM alarm_changes WHERE alarm_id = %s AND change = 'taken'", (alarm_id,)
        )
        row = await cursor.fetchone()
        assert row is not None and row["n"] == 1


async def test_unknown_alarms(anna: httpx.AsyncClient) -> None:
    for number in (1, 2**63 - 1):
        assert (await anna.get(f"/api/v1/alarms/{number}")).status_code == 404
        assert (await anna.post(f"/api/v1/alarms/{number}/take")).status_code == 404
    assert (await anna.get(f"/api/v1/alarms/{2**63}")).status_code == 422
