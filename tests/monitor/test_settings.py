"""Settings that facts depend on: seen, changed and taken back by people."""

import httpx
import psycopg
import pytest

from store import decisions

PATH = "/api/v1/settings/facts"
NAME = "silence.moving_s"


async def setting(client: httpx.AsyncClient) -> dict[str, object]:
    found = (await client.get(PATH)).json()["items"]
    return next(each for each in found if each["name"] == NAME)


async def test_what_a_person_says_wins_until_it_is_taken_back(
    root: httpx.AsyncClient, anna: httpx.AsyncClient, dsn: str
) -> None:
    with psycopg.connect(dsn) as connection:
        assert decisions.configure(connection, {NAME: 300.0}) == 1
    assert (await setting(anna))["value"] == 300
    changed = await root.put(f"{PATH}/{NAME}", json={"value": 60})
    assert changed.status_code == 200
    with psycopg.connect(dsn) as connection:
        assert decisions.configure(connection, {NAME: 300.0}) is None, "it says so already"
        assert decisions.configure(connection, {NAME: 400.0}) == 3
    found = await setting(anna)
    assert (found["value"], found["configured"], found["set_by"]) == (60, 400, "root")
    assert not found["is_taken"], "no gateway has said it in the log"
    assert (await root.delete(f"{PATH}/{NAME}")).json()["value"] == 400
    found = await setting(anna)
    assert (found["set_by"], found["set_at"]) == (None, None)
    actions = [each["action"] for each in (await root.get("/api/v1/audit")).json()["items"]]
    assert actions.count("setting.changed") == 2


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (NAME, 0, 422),
        (NAME, 1e9, 422),
        ("silence.mass_least", 2.5, 422),
        ("silence.proof_reports", "many", 422),
        ("gateway.port", 1, 404),
    ],
)
async def test_what_cannot_be_is_refused(
    root: httpx.AsyncClient, dsn: str, name: str, value: object, status: int
) -> None:
    assert (await root.put(f"{PATH}/{name}", json={"value": value})).status_code == status
    with psycopg.connect(dsn) as connection:
        assert decisions.newest(connection) == 0


async def test_only_an_admin_changes_them(anna: httpx.AsyncClient) -> None:
    assert (await anna.put(f"{PATH}/{NAME}", json={"value": 60})).status_code == 403
    assert (await anna.delete(f"{PATH}/{NAME}")).status_code == 403
