"""Deleting a terminal takes it out of everything that is of now."""

import httpx

from tests.monitor.facts import Facts


async def test_a_deleted_terminal_is_nowhere_but_in_what_it_said(
    facts: Facts, root: httpx.AsyncClient, anna: httpx.AsyncClient
) -> None:
    terminal, vehicle = await facts.terminal("100"), await facts.vehicle("辽A1")
    await facts.installed(terminal, vehicle)
    alarm, ticket = await facts.alarm(terminal), await facts.ticket(terminal)
    assert (await anna.delete(f"/api/v1/terminals/{terminal}")).status_code == 403
    assert (await root.delete(f"/api/v1/terminals/{terminal}")).status_code == 204
    assert (await root.get("/api/v1/terminals", params={"search": "100"})).json()["items"] == []
    assert (await root.get(f"/api/v1/vehicles/{vehicle}")).json()["terminal"] is None
    over = (await root.get(f"/api/v1/alarms/{alarm}")).json()
    assert not over["on_desk"] and over["ended_at"]
    assert over["changes"][-1]["detail"] == {"reason": "forgotten"}
    assert (await root.get(f"/api/v1/tickets/{ticket}")).json()["state"] == "cancelled"
    assert (await root.get("/api/v1/audit")).json()["items"][0]["action"] == "terminal.forgotten"
    assert (await root.delete("/api/v1/terminals/999999")).status_code == 404
