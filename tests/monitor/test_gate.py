"""Who may come in: every route asks, and other sites' pages change nothing."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from monitor.app import create_app
from monitor.gate import MAX_BODY
from monitor.options import MonitorOptions
from monitor.pages import content_security_policy
from monitor.signing import (
    COOKIE,
    LOOKUPS_AT_ONCE,
    LOOKUPS_WAITING_PER_ADDRESS,
    MAX_REFUSED,
    REFUSED_LASTS_S,
    Remembered,
)
from store import people
from store.select import Connection, Row
from tests.monitor.conftest import PATIENCE_S, Served

OPEN = {"/api/v1/sign-in", "/healthz", "/readyz", "/metrics"}
APP = create_app(MonitorOptions(""))
ROUTES = [(method, path) for path, methods in APP.openapi()["paths"].items() for method in methods]
ADMIN_ONLY = {
    (method, path)
    for method, path in ROUTES
    if path.startswith(("/api/v1/users", "/api/v1/audit"))
    or (method == "delete" and path == "/api/v1/quarantine")
    or (method != "get" and path.startswith(("/api/v1/vehicles", "/api/v1/terminals", "/api/v1/fleet")))
}


def test_every_route_is_described() -> None:
    described = {path for _, path in ROUTES}
    mounted = {route.path for route in APP.routes if isinstance(route, APIRoute)}
    assert mounted <= described


async def test_every_route_asks_who_is_there(stranger: httpx.AsyncClient) -> None:
    for method, path in ROUTES:
        if path in OPEN:
            continue
        answer = await stranger.request(method, path.replace("{", "").replace("}", ""))
        if answer.status_code == 422:  # the id in the path is checked first
            answer = await stranger.request(method, _filled(path))
        assert (method, path, answer.status_code) == (method, path, 401)
        assert answer.json()["code"] == "not_signed_in"
        assert answer.headers["content-type"] == "application/problem+json"


async def test_stolen_table_or_made_up_cookie_opens_nothing(stranger: httpx.AsyncClient) -> None:
    for cookie in ("x", "A" * 43, "A" * 5000, "\x01"):
        answer = await stranger.get("/api/v1/me", headers={"cookie": f"northwatch_session={cookie}"})
        assert answer.status_code == 401


async def test_invented_cookies_keep_nobody_out(
    root: httpx.AsyncClient, stranger: httpx.AsyncClient, monitor: Served
) -> None:
    assert (await _alone(root, "/api/v1/me")).status_code == 200
    anyone = httpx.AsyncClient(
        base_url=stranger.base_url, limits=httpx.Limits(), timeout=PATIENCE_S, trust_env=False
    )
    async with anyone, asyncio.TaskGroup() as group:
        invented = [group.create_task(_invented(anyone, f"{number:043}")) for number in range(300)]
        for path in ("/api/v1/me", "/api/v1/vehicles", "/api/v1/alarms") * 10:
            answer = await _alone(root, path)
            assert (path, answer.status_code) == (path, 200)
    answers = [each.result() for each in invented]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} <= {
        (401, "not_signed_in"),
        (503, "too_many_strangers"),
    }
    assert 401 in {answer.status_code for answer in answers}
    assert (await _invented(stranger, monitor.cookies["bo"])).status_code == 200  # who was unknown until now


async def test_few_unknown_cookies_are_looked_up_at_once(monitor: Served, root: httpx.AsyncClient) -> None:
    center = monitor.app.state.center
    assert (await _alone(root, "/api/v1/me")).status_code == 200
    async with AsyncExitStack() as looking:
        for _ in range(LOOKUPS_AT_ONCE):
            await looking.enter_async_context(center.strangers.looking("203.0.113.7"))
        async with monitor.client() as client:
            waiting = [
                asyncio.create_task(_invented(client, f"{number:043}"))
                for number in range(LOOKUPS_WAITING_PER_ADDRESS + 5)
            ]
            first, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {answer.result().json()["code"] for answer in first} == {"too_many_strangers"}
            assert (await _invented(client, "no cookie of ours")).status_code == 401
            assert (await _alone(root, "/api/v1/vehicles")).status_code == 200
            await looking.aclose()
            await asyncio.gather(*waiting)
            assert (await _invented(client, monitor.cookies["anna"])).status_code == 200


async def test_a_refused_cookie_is_not_looked_up_again(
    monitor: Served, stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    look_up = people.signed_in

    async def counted(connection: Connection, cookie: str, *more: Any) -> Row | None:
        asked.append(cookie)
        return await look_up(connection, cookie, *more)

    monkeypatch.setattr(people, "signed_in", counted)
    for _ in range(3):
        assert (await _invented(stranger, "A" * 43)).status_code == 401
        assert (await _invented(stranger, "A" * 44)).status_code == 401
        assert (await _invented(stranger, monitor.cookies["anna"])).status_code == 200
    assert asked.count("A" * 43) == 1 and len(asked) == 4


def test_remembered_cookies_are_bounded() -> None:
    remembered = Remembered()
    for number in range(MAX_REFUSED + 1):
        remembered.note(str(number), None, now=0.0)
    assert not remembered.refuses("0", now=1.0) and remembered.refuses("1", now=1.0)
    assert not remembered.refuses("1", now=REFUSED_LASTS_S)
    remembered.note("1", 100.0, now=1.0)
    assert remembered.knows("1", now=1.0) and not remembered.refuses("1", now=1.0)
    assert remembered.knows("1", now=100.5) and not remembered.knows("1", now=101.0)


async def test_operators_do_not_administer(anna: httpx.AsyncClient) -> None:
    for method, path in ROUTES:
        body = {} if method in ("post", "patch") and not path.endswith("import") else None
        answer = await anna.request(method, _filled(path), json=body) if body is not None else None
        if answer is None:
            answer = await anna.request(method, _filled(path))
        is_refused = answer.status_code == 403
        assert (method, path, is_refused) == (method, path, (method, path) in ADMIN_ONLY)
        if path.endswith("sign-out"):
            return


async def test_other_sites_change_nothing(root: httpx.AsyncClient) -> None:
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://[broken"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        answer = await root.post("/api/v1/vehicles", json={"plate": "辽A12345"}, headers=headers)
        assert (headers, answer.status_code) == (headers, 403)
        assert answer.json()["code"] == "cross_site"
    assert (await root.get("/api/v1/vehicles")).json()["total"] == 0


async def test_our_own_page_may_change_things(root: httpx.AsyncClient, monitor: Served) -> None:
    headers = {"origin": f"http://{monitor.host}", "sec-fetch-site": "same-origin"}
    answer = await root.post("/api/v1/vehicles", json={"plate": "辽A12345"}, headers=headers)
    assert answer.status_code == 201


async def test_forms_are_refused(root: httpx.AsyncClient) -> None:
    answer = await root.post("/api/v1/vehicles", data={"plate": "辽A12345"})
    assert answer.status_code == 415
    text = {"content-type": "text/plain"}
    answer = await root.post("/api/v1/vehicles", content='{"plate": "x"}', headers=text)
    assert answer.json()["code"] == "content_type"


async def test_large_bodies_are_refused_said_or_not(root: httpx.AsyncClient) -> None:
    large = b" " * (MAX_BODY + 1)
    headers = {"content-type": "application/json"}
    answer = await root.post("/api/v1/vehicles", content=large, headers=headers)
    assert answer.status_code == 413

    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(1 + MAX_BODY // 1000):
            yield b" " * 1000

    answer = await root.post("/api/v1/vehicles", content=pieces(), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"


async def test_errors_are_problem_documents(root: httpx.AsyncClient) -> None:
    for method, path, status, code in (
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("DELETE", "/api/v1/vehicles", 405, "method_not_allowed"),
        ("GET", "/api/v1/vehicles/1", 404, "not_found"),
        ("GET", "/api/v1/vehicles/x", 422, "invalid"),
        ("GET", "/api/v1/vehicles?cursor=x", 400, "bad_cursor"),
        ("POST", "/api/v1/nothing", 404, "not_found"),
    ):
        answer = await root.request(method, path)
        assert (path, answer.status_code) == (path, status)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        problem = answer.json()
        assert problem["code"] == code and problem["status"] == status and problem["detail"]


async def test_page_is_served_for_every_address_it_draws(stranger: httpx.AsyncClient) -> None:
    for path in ("/", "/alarms", "/vehicles/12"):
        answer = await stranger.get(path)
        assert answer.status_code == 200 and "<title>Northwatch" in answer.text
        assert answer.headers["cache-control"] == "no-cache"
    script = await stranger.get("/assets/app-1a2b.js")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "worker-src 'self' blob:" in script.headers["content-security-policy"]
    assert script.headers["x-content-type-options"] == "nosniff"
    again = await stranger.get("/", headers={"if-none-match": (await stranger.get("/")).headers["etag"]})
    assert again.status_code == 304
    assert (await stranger.head("/")).status_code == 200


async def test_missing_files_are_missing(stranger: httpx.AsyncClient, options: MonitorOptions) -> None:
    assert options.web_dir is not None
    (options.web_dir.parent / "secret.txt").write_text("secret")
    for path in ("/assets/other.js", "/favicon.ico", "/../secret.txt", "/%2e%2e/secret.txt", "/a%00b.js"):
        answer = await stranger.get(path)
        assert (path, answer.status_code) == (path, 404)


async def test_only_the_configured_tiles_may_be_loaded() -> None:
    assert "https:" not in content_security_policy(None)
    policy = content_security_policy("https://t{s}.tianditu.gov.cn/vec_w/wmts?x={x}&y={y}&z={z}&tk=key")
    assert "img-src 'self' data: blob: https://*.tianditu.gov.cn;" in policy
    assert "tk=key" not in policy


async def _alone(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """Ask by a connection that is not kept: the monitor ends one that rests for five seconds, and where the
    loop is busy for as long, just when it is used again."""
    return await client.get(path, headers={"connection": "close"})


async def _invented(client: httpx.AsyncClient, cookie: str) -> httpx.Response:
    return await client.get("/api/v1/me", headers={"cookie": f"{COOKIE}={cookie}", "connection": "close"})


def _filled(path: str) -> str:
    return "/".join("1" if part.startswith("{") else part for part in path.split("/"))


async def test_a_page_that_begins_with_many_requests_is_let_in(monitor: Served) -> None:
    """A session that the monitor does not remember, after its restart say, is looked up once for all."""
    async with monitor.client() as client:
        many = 2 * LOOKUPS_WAITING_PER_ADDRESS
        answers = await asyncio.gather(*(_invented(client, monitor.cookies["anna"]) for _ in range(many)))
    assert {answer.status_code for answer in answers} == {200}
