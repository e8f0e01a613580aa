"""Signing in, sessions, users, audit."""

import asyncio
from datetime import datetime

import httpx
import psycopg

from monitor.signing import COOKIE
from monitor.throttle import (
    THROTTLE_WINDOW_S,
    TRIES_PER_ADDRESS,
    TRIES_PER_NAME_AND_ADDRESS,
    Attempt,
    Throttle,
)
from store import people
from store.passwords import password_matches
from store.select import Connection
from tests.monitor.conftest import PASSWORD, Served

ANNA = Attempt("anna", "10.0.0.1", None)


async def test_signing_in_gives_a_session_and_signing_out_ends_it(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.post("/api/v1/sign-in", json={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json()["name"] == "anna"
    assert answer.json()["role"] == "operator"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "secure" not in cookie
    assert (await stranger.get("/api/v1/me")).json()["name"] == "anna"
    kept = {COOKIE: stranger.cookies[COOKIE]}
    assert (await stranger.post("/api/v1/sign-out")).status_code == 204
    stranger.cookies.update(kept)
    assert (await stranger.get("/api/v1/me")).status_code == 401


async def test_wrong_credentials_are_refused_alike(stranger: httpx.AsyncClient) -> None:
    answers = []
    for name, password in (("anna", "wrong"), ("nobody", PASSWORD), ("", ""), ("anna\0", "x")):
        answer = await stranger.post("/api/v1/sign-in", json={"name": name, "password": password})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert "set-cookie" not in answer.headers
        answers.append(answer.json())
    assert answers[0]["code"] == "sign_in_failed"
    assert all(answer == answers[0] for answer in answers)


async def test_guessing_is_slowed_down_even_when_it_is_right_at_last(stranger: httpx.AsyncClient) -> None:
    for _ in range(TRIES_PER_NAME_AND_ADDRESS):
        await stranger.post("/api/v1/sign-in", json={"name": "anna", "password": "wrong"})
    answer = await stranger.post("/api/v1/sign-in", json={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 429
    assert answer.json()["code"] == "too_many_attempts"
    assert int(answer.headers["retry-after"]) > 0
    other = await stranger.post("/api/v1/sign-in", json={"name": "bo", "password": PASSWORD})
    assert other.status_code == 200


async def test_guesses_at_once_gain_nothing(stranger: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(
            stranger.post("/api/v1/sign-in", json={"name": "anna", "password": f"guess {i}"})
            for i in range(12)
        )
    )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(401) == TRIES_PER_NAME_AND_ADDRESS
    assert statuses.count(429) == 12 - TRIES_PER_NAME_AND_ADDRESS


async def test_throttle_forgets_after_its_window_and_after_success() -> None:
    throttle = Throttle()
    for _ in range(TRIES_PER_NAME_AND_ADDRESS):
        assert throttle.begin(ANNA, 0.0) == 0
    assert throttle.begin(ANNA, 1.0) == THROTTLE_WINDOW_S - 1
    assert throttle.begin(ANNA._replace(address="10.0.0.2"), 1.0) == 0
    assert throttle.begin(ANNA, THROTTLE_WINDOW_S) == 0
    throttle.succeeded(ANNA)
    for _ in range(TRIES_PER_NAME_AND_ADDRESS):
        assert throttle.begin(ANNA, THROTTLE_WINDOW_S) == 0


async def test_one_network_of_addresses_counts_as_one() -> None:
    throttle = Throttle()
    waits = [
        throttle.begin(Attempt(f"name {i}", f"2001:db8::{i:x}", None), 0.0)
        for i in range(TRIES_PER_ADDRESS + 1)
    ]
    assert waits[:-1] == [0] * TRIES_PER_ADDRESS
    assert waits[-1] > 0


async def test_cookies_and_passwords_are_not_in_the_database(monitor: Served, db: Connection) -> None:
    cursor = await db.execute("SELECT token_hash FROM sign_ins")
    hashes = [bytes(row["token_hash"]) for row in await cursor.fetchall()]
    assert len(hashes) == 3
    assert all(cookie.encode() not in hashes for cookie in monitor.cookies.values())
    cursor = await db.execute("SELECT password_hash FROM users")
    assert all(row["password_hash"].startswith("$argon2id$") for row in await cursor.fetchall())


async def test_expired_session_is_no_session(anna: httpx.AsyncClient, db: Connection) -> None:
    assert (await anna.get("/api/v1/me")).status_code == 200
    await db.execute("UPDATE sign_ins SET expires_at = now() - interval '1 second'")
    assert (await anna.get("/api/v1/me")).status_code == 401


async def test_a_session_ends_however_much_it_is_used(anna: httpx.AsyncClient, db: Connection) -> None:
    await db.execute("UPDATE sign_ins SET expires_at = now() + interval '1 minute'")
    until = (await anna.get("/api/v1/me")).json()["until"]
    assert (await anna.get("/api/v1/me")).json()["until"] == until
    row = await (await db.execute("SELECT max(expires_at) AS until FROM sign_ins")).fetchone()
    assert row is not None and row["until"] == datetime.fromisoformat(until)


async def test_first_admin_is_made_once(db: Connection) -> None:
    password = await people.ensure_admin(db)
    assert password is not None
    known = await people.credentials(db, "admin")
    assert known is not None and await password_matches(known["password_hash"], password)
    assert await people.ensure_admin(db) is None


async def test_two_starts_at_once_make_one_admin(dsn: str) -> None:
    async def start() -> str | None:
        async with await psycopg.AsyncConnection.connect(
            dsn, row_factory=psycopg.rows.dict_row
        ) as connection:
            return await people.ensure_admin(connection)

    passwords = await asyncio.gather(*(start() for _ in range(4)))
    assert sum(password is not None for password in passwords) == 1


async def test_admin_adds_edits_and_disables_a_user(root: httpx.AsyncClient, monitor: Served) -> None:
    new = {"name": "王芳", "display_name": "Wang Fang", "role": "operator", "password": "a long enough one"}
    added = await root.post("/api/v1/users", json=new)
    assert added.status_code == 201
    user_id = added.json()["id"]
    assert (await root.post("/api/v1/users", json=new)).json()["code"] == "already_exists"
    async with monitor.client() as wang:
        credentials = {"name": "王芳", "password": "a long enough one"}
        assert (await wang.post("/api/v1/sign-in", json=credentials)).status_code == 200
        changed = await root.patch(f"/api/v1/users/{user_id}", json={"disabled": True})
        assert changed.json()["disabled"] is True
        assert (await wang.get("/api/v1/me")).status_code == 401
        assert (await wang.post("/api/v1/sign-in", json=credentials)).status_code == 401
    listed = (await root.get("/api/v1/users")).json()
    assert [user["name"] for user in listed["items"]] == ["anna", "bo", "root", "王芳"]
    assert "password_hash" not in listed["items"][0]


async def test_new_password_ends_all_sessions(
    root: httpx.AsyncClient, anna: httpx.AsyncClient, db: Connection
) -> None:
    user = await people.user_named(db, "anna")
    answer = await root.post(f"/api/v1/users/{user['id']}/password", json={"password": "something else"})
    assert answer.status_code == 204
    assert (await anna.get("/api/v1/me")).status_code == 401
    assert (
        await root.post(f"/api/v1/users/{user['id']}/password", json={"password": "short"})
    ).status_code == 422


async def test_an_admin_changes_his_own_password_with_the_old_one_only(root: httpx.AsyncClient) -> None:
    me = (await root.get("/api/v1/me")).json()["id"]
    own = await root.post(f"/api/v1/users/{me}/password", json={"password": "something else"})
    assert (own.status_code, own.json()["code"]) == (409, "not_for_oneself")
    right = {"old_password": PASSWORD, "new_password": "something else"}
    assert (await root.post("/api/v1/me/password", json=right)).status_code == 204


async def test_own_new_password_ends_ones_other_sessions(
    anna: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    await stranger.post("/api/v1/sign-in", json={"name": "anna", "password": PASSWORD})
    wrong = {"old_password": "wrong", "new_password": "something else"}
    assert (await anna.post("/api/v1/me/password", json=wrong)).json()["code"] == "wrong_password"
    right = {"old_password": PASSWORD, "new_password": "something else"}
    assert (await anna.post("/api/v1/me/password", json=right)).status_code == 204
    assert (await anna.get("/api/v1/me")).status_code == 200
    assert (await stranger.get("/api/v1/me")).status_code == 401


async def test_last_admin_stays(root: httpx.AsyncClient, db: Connection) -> None:
    me = (await root.get("/api/v1/me")).json()
    for change in ({"disabled": True}, {"role": "operator"}):
        answer = await root.patch(f"/api/v1/users/{me['id']}", json=change)
        assert answer.status_code == 409
        assert answer.json()["code"] == "last_admin"
    assert (await root.get("/api/v1/me")).json()["role"] == "admin"


async def test_audit_says_who_changed_what(root: httpx.AsyncClient, anna: httpx.AsyncClient) -> None:
    await root.post("/api/v1/vehicles", json={"plate": "辽A12345", "plate_color": 2})
    await root.post("/api/v1/terminals", json={"identity": "013912345678"})
    audit = (await root.get("/api/v1/audit")).json()
    assert [(entry["user_name"], entry["action"], entry["subject"]) for entry in audit["items"]] == [
        ("root", "terminal.added", "13912345678"),
        ("root", "vehicle.added", "辽A12345"),
    ]
    first = (await root.get("/api/v1/audit", params={"limit": 1})).json()
    second = (await root.get("/api/v1/audit", params={"limit": 1, "cursor": first["next"]})).json()
    assert first["items"] + second["items"] == audit["items"]
    assert second["next"] is None
    only = (await root.get("/api/v1/audit", params={"action": "vehicle.added"})).json()
    assert len(only["items"]) == 1
    assert (await anna.get("/api/v1/audit")).status_code == 403


async def test_a_password_that_somebody_else_chose_serves_for_choosing_another(
    root: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    new = {"name": "mei", "role": "operator", "password": "chosen by root"}
    added = (await root.post("/api/v1/users", json=new)).json()
    assert added["must_change_password"]
    given = {"name": "mei", "password": "chosen by root"}
    assert (await stranger.post("/api/v1/sign-in", json=given)).json()["must"] == "change_password"
    for each in ("vehicles", "live", "settings", "health", "exports/trips"):
        path = f"/api/v1/{each}"
        refused = await stranger.get(path)
        assert (path, refused.status_code, refused.json()["code"]) == (path, 403, "must_change_password")
    for wrong, code in (
        ("chosen by root", "password_unchanged"),
        ("mei20261129", "password_is_name"),
        ("woaini1314", "password_is_common"),
    ):
        change = {"old_password": "chosen by root", "new_password": wrong}
        refused = await stranger.post("/api/v1/me/password", json=change)
        assert (wrong, refused.status_code, refused.json()["errors"][0]["code"]) == (wrong, 422, code)
    change = {"old_password": "chosen by root", "new_password": "a quiet road at night"}
    assert (await stranger.post("/api/v1/me/password", json=change)).status_code == 204
    assert (await stranger.get("/api/v1/me")).json()["must"] is None
    assert (await stranger.get("/api/v1/vehicles")).status_code == 200
    again = {"password": "chosen by root too"}
    assert (await root.post(f"/api/v1/users/{added['id']}/password", json=again)).status_code == 204
    given = {"name": "mei", "password": "chosen by root too"}
    assert (await stranger.post("/api/v1/sign-in", json=given)).json()["must"] == "change_password"
