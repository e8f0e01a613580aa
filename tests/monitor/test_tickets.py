"""Tickets, incidents and the quarantine over HTTP."""

import itertools
from datetime import timedelta
from typing import Any

import httpx
from psycopg.types.json import Jsonb

from store.select import Connection
from tests.monitor.facts import EVIDENCE, T0, Facts


async def test_ticket_goes_its_way_and_remembers_it(anna: httpx.AsyncClient, facts: Facts) -> None:
    vehicle = await facts.vehicle("辽A1")
    ticket_id = await facts.ticket(vehicle_id=vehicle)
    path = f"/api/v1/tickets/{ticket_id}"
    accepted = (await anna.post(f"{path}/accept")).json()
    assert (accepted["state"], accepted["assigned_to"]["name"]) == ("accepted", "anna")
    assert (await anna.post(f"{path}/note", json={"note": "天线断"})).json()["note"] == "天线断"
    assert (await anna.post(f"{path}/repair", json={"note": "换天线"})).json()["state"] == "repaired"
    closed = (await anna.post(f"{path}/close", json={"note": "司机确认"})).json()
    assert (closed["state"], closed["closed_because"]) == ("closed", "anna: 司机确认")
    ticket = (await anna.get(path)).json()
    assert ticket["evidence"] == EVIDENCE
    assert ticket["why"] == EVIDENCE["reason"]
    assert [change["change"] for change in ticket["changes"]] == [
        "opened",
        "accepted",
        "noted",
        "repaired",
        "closed",
    ]
    assert ticket["changes"][2]["detail"] == {"note": "天线断"}
    assert (await anna.get("/api/v1/tickets")).json()["items"] == []
    everything = (await anna.get("/api/v1/tickets", params={"view": "all", "state": "closed"})).json()
    assert [each["id"] for each in everything["items"]] == [ticket_id]


async def test_what_the_state_does_not_allow_is_refused(anna: httpx.AsyncClient, facts: Facts) -> None:
    ticket_id = await facts.ticket()
    path = f"/api/v1/tickets/{ticket_id}"
    assert (await anna.post(f"{path}/cancel", json={"note": "scrapped"})).json()["state"] == "cancelled"
    for action in ("accept", "repair", "close", "cancel", "reopen"):
        refused = await anna.post(f"{path}/{action}", json={"note": "again"})
        assert (action, refused.status_code, refused.json()["code"]) == (action, 409, "not_allowed_now")
        assert refused.json()["current"]["state"] == "cancelled"
    noted = await anna.post(f"{path}/note", json={"note": "afterwards"})
    assert noted.json()["state"] == "cancelled"
    assert noted.json()["closed_because"] == "anna: scrapped"


async def test_closed_ticket_is_reopened_unless_there_is_a_newer_one(
    anna: httpx.AsyncClient, facts: Facts
) -> None:
    terminal = await facts.terminal()
    ticket_id = await facts.ticket(terminal)
    path = f"/api/v1/tickets/{ticket_id}"
    await anna.post(f"{path}/close", json={"note": "fixed"})
    assert (await anna.post(f"{path}/reopen")).json()["closed_at"] is None
    await anna.post(f"{path}/close", json={"note": "fixed"})
    await facts.ticket(terminal)
    refused = await anna.post(f"{path}/reopen", json={"note": "no"})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_allowed_now")
    assert (await anna.get(path)).json()["state"] == "closed"


async def test_reasons_are_needed(anna: httpx.AsyncClient, facts: Facts) -> None:
    ticket_id = await facts.ticket()
    bodies: tuple[Any, ...] = ({}, {"note": ""}, {"note": "  "}, {"note": None})
    for action, body in itertools.product(("close", "cancel", "note"), bodies):
        answer = await anna.post(f"/api/v1/tickets/{ticket_id}/{action}", json=body)
        assert (action, body, answer.status_code) == (action, body, 422)
        assert answer.json()["errors"][0]["field"] == "note"


async def test_ticket_opened_ahead_of_our_clock_can_be_closed(anna: httpx.AsyncClient, facts: Facts) -> None:
    ticket_id = await facts.ticket(opened_at=T0 + timedelta(days=5000))
    answer = await anna.post(f"/api/v1/tickets/{ticket_id}/close", json={"note": "x"})
    assert answer.json()["closed_at"] == answer.json()["opened_at"]


async def test_incidents_are_listed(anna: httpx.AsyncClient, db: Connection) -> None:
    await db.execute(
        "INSERT INTO incidents (kind, opened_at, terminals, detail) VALUES ('mass_silence', %s, 40, %s)",
        (T0, Jsonb({"share": 0.4})),
    )
    incidents = (await anna.get("/api/v1/incidents")).json()
    assert incidents["next"] is None
    assert [(each["terminals"], each["detail"]) for each in incidents["items"]] == [(40, {"share": 0.4})]


async def test_quarantine_keeps_bytes_and_reason(anna: httpx.AsyncClient, facts: Facts) -> None:
    terminal = await facts.terminal("139")
    raw = bytes(range(256)) * 4
    one = await facts.quarantined(terminal, raw=raw, reason="bad_length", msg_id=0x0200)
    await facts.quarantined()
    await facts.quarantined()
    listed = (await anna.get("/api/v1/quarantine")).json()["items"]
    assert [each["reason"] for each in listed] == ["bad_checksum", "bad_checksum", "bad_length"]
    assert listed[2]["preview_hex"] == raw[:32].hex()
    assert (listed[2]["size_bytes"], listed[2]["terminal"]["identity"]) == (1024, "139")
    whole = (await anna.get(f"/api/v1/quarantine/{one}")).json()
    assert bytes.fromhex(whole["raw_hex"]) == raw
    only = (await anna.get("/api/v1/quarantine", params={"reason": "bad_length"})).json()["items"]
    assert [each["id"] for each in only] == [one]
    period = {"from": T0.isoformat(), "to": (T0 + timedelta(hours=1)).isoformat()}
    summary = (await anna.get("/api/v1/quarantine/summary", params=period)).json()["items"]
    assert [(each["reason"], each["count"]) for each in summary] == [("bad_checksum", 2), ("bad_length", 1)]
    assert (await anna.get("/api/v1/quarantine/999")).status_code == 404
