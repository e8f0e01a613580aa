"""People let many new terminals come, and the gateway learns of it."""

import httpx
import pytest

from northwatch.fleet_source import FleetSource
from tests.monitor.facts import Facts

PATH = "/api/v1/lobby"


async def test_an_enrolment_window_is_opened_told_and_closed(
    root: httpx.AsyncClient, anna: httpx.AsyncClient, facts: Facts, dsn: str
) -> None:
    await facts.terminal()
    assert (await anna.get(PATH)).json() == {"waiting": 1, "enrolment": None}
    opened = (await root.put(f"{PATH}/enrolment", json={"hours": 2, "room": 500})).json()["enrolment"]
    assert (opened["room"], opened["opened_by"]) == (500, "root")
    source = FleetSource(dsn)
    news = source(None)
    assert news.enrolment.room == 500 and news.enrolment.until_us > 0
    assert (await root.delete(f"{PATH}/enrolment")).json()["enrolment"] is None
    assert source(news.horizon).enrolment.room == 0
    assert (await root.delete(f"{PATH}/enrolment")).status_code == 200
    actions = [each["action"] for each in (await root.get("/api/v1/audit")).json()["items"]]
    assert actions.count("lobby.opened") == actions.count("lobby.closed") == 1


@pytest.mark.parametrize("given", [{"hours": 0}, {"hours": 200}, {"hours": 1, "room": 0}, {}])
async def test_only_an_administrator_opens_it_and_never_for_long(
    root: httpx.AsyncClient, anna: httpx.AsyncClient, given: dict[str, float]
) -> None:
    assert (await root.put(f"{PATH}/enrolment", json=given)).status_code == 422
    assert (await anna.put(f"{PATH}/enrolment", json={"hours": 1})).status_code == 403
