"""Who may come in: every route asks, and other sites' pages change nothing."""

import httpx
from fastapi.routing import APIRoute

from monitor.app import create_app
from monitor.gate import MAX_BODY
from monitor.options import MonitorOptions
from monitor.pages import content_security_policy
from tests.monitor.conftest import Served

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


def _filled(path: str) -> str:
    return "/".join("1" if part.startswith("{") else part for part in path.split("/"))
