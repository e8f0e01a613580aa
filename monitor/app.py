"""The monitor as an ASGI application: `create_app(options)`.

    proxies (whose request it is) → gate (origin, size, headers) → compression → …
    … → routes of `/api/v1/` · probes · the page

Who serves it decides about sockets and signals; everything else begins and ends with the application's
lifespan.
"""

from collections.abc import Callable
from typing import Any

import psycopg
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from typing_extensions import TypedDict

from monitor import metrics, pages, problems
from monitor.center import Center
from monitor.compression import Compression
from monitor.gate import Gate
from monitor.options import MonitorOptions
from monitor.pages import Pages
from monitor.problems import Problem, ProblemDocument, database_unavailable, translate
from monitor.proxies import Proxies, comes_from
from monitor.routes import (
    alarms,
    archive,
    areas,
    doubts,
    explain,
    exports,
    fleet,
    holds,
    live,
    lobby,
    people,
    records,
    second_factor,
    settings,
    tickets,
)
from store.select import fetch_one

API = "/api/v1"
DESCRIPTION = (
    "Live vehicles, the alarm desk, repair tickets and the fleet of Northwatch (北斗值守). See docs/api.md."
)
probes = APIRouter(tags=["probes"])


class Alive(TypedDict):
    """How the process is."""

    ok: bool
    loop_delay_s: float
    """The longest delay of its event loop of late, in seconds."""


ALIVE: Alive = {"ok": True, "loop_delay_s": 0.0}


def create_app(options: MonitorOptions, alive: Callable[[], Alive] = lambda: ALIVE) -> FastAPI:
    """Make the application. It connects to nothing before its lifespan begins. `alive` is asked how whoever
    serves it finds its event loop.
    """
    center = Center(options)
    app = FastAPI(
        title="Northwatch",
        version=options.version or "0",
        description=DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=center.running,
    )
    app.state.center = center
    app.state.alive = alive
    for desk in (
        people,
        second_factor,
        fleet,
        lobby,
        areas,
        alarms,
        tickets,
        records,
        doubts,
        holds,
        archive,
        exports,
        live,
        explain,
        settings,
    ):
        app.include_router(desk.router, prefix=API)
    app.include_router(probes)
    problems.install(app)
    _serve_pages(app, Pages(options.web_dir))
    app.add_middleware(Compression)
    headers = pages.SECURITY_HEADERS | {
        "Content-Security-Policy": pages.content_security_policy(options.map.tiles_url)
    }
    if options.is_https:
        headers |= pages.STRICT_TRANSPORT
    app.add_middleware(
        Gate,
        trusted_origins=options.trusted_origins,
        is_https=options.secure_cookie,
        headers=headers,
        count=center.metrics.answered,
    )
    app.add_middleware(Proxies, proxies=options.proxies)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@probes.get("/healthz", responses={503: {"model": Alive, "description": "The event loop was held up."}})
async def healthz(request: Request, response: Response) -> Alive:
    """The process lives, and its event loop runs."""
    alive: Alive = request.app.state.alive()
    response.status_code = 200 if alive["ok"] else 503
    return alive


@probes.get(
    "/readyz", responses={503: {"model": ProblemDocument, "description": "The database does not answer."}}
)
async def readyz(request: Request) -> dict[str, bool]:
    """The database answers, so requests can be served."""
    center: Center = request.app.state.center
    try:
        async with center.database() as connection:
            await fetch_one(connection, "SELECT 1 AS one")
    except (psycopg.Error, PoolTimeout, PoolClosed, TooManyRequests):
        raise database_unavailable() from None
    return {"ok": True}


@probes.get(
    "/metrics",
    response_class=Response,
    responses={403: {"model": ProblemDocument, "description": "Not for this address."}},
)
async def all_metrics(request: Request) -> Response:
    """Prometheus text of monitor, gateway and worker, for this machine and `monitor.metrics_networks`."""
    center: Center = request.app.state.center
    if not comes_from(request, center.options.scrapers):
        raise Problem(
            403, "not_for_this_address", "Metrics are for the addresses of monitor.metrics_networks."
        )
    return Response(await center.metrics.text(), media_type=metrics.CONTENT_TYPE)


def _serve_pages(app: FastAPI, files: Pages) -> None:
    """Give the page where no route is, so that a wrong method on a route remains a 405."""

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        is_page = request.method in ("GET", "HEAD") and not request.url.path.startswith("/api/")
        if error.status_code == 404 and is_page:
            try:
                return await files.response(request)
            except HTTPException as missing:
                error = missing
        if error.status_code == 405:
            # The router names the methods of one route; a path may have several.
            error.headers = {"Allow": ", ".join(sorted(_methods(app, request.url.path)))}
        return translate(error).response()

    app.add_exception_handler(HTTPException, answer)


def _methods(app: FastAPI, path: str) -> set[str]:
    """Give the methods that a path has."""
    return {
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        if compile_path(template)[0].match(path)
        for method in operations
    }


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the API, with problem documents instead of FastAPI's own errors."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        components = schema["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            components.pop(name, None)
        problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        components |= problem.pop("$defs", {})
        components[ProblemDocument.__name__] = problem
        app.openapi_schema = schema
    return app.openapi_schema
