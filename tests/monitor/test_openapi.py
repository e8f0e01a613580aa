"""The running API against its own description: schemathesis on a real server and database."""

import asyncio
import re
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from psycopg.rows import dict_row
from schemathesis.config import SchemathesisConfig

from monitor.app import create_app
from monitor.connections import ConnectionLimits, Server
from monitor.options import MonitorOptions
from monitor.signing import COOKIE
from store import people
from tests.databases import Server as DatabaseServer
from tests.monitor.facts import Facts

IDS = 5
"""So many of everything are there."""
MOST = 2**31 - 1
"""Every id may be so large."""
EXAMPLES = 5
"""Per operation, besides the edges of every field."""

DESCRIPTION = create_app(MonitorOptions("", version="1")).openapi()
for operations in DESCRIPTION["paths"].values():
    for operation in operations.values():
        operation.pop("security", None)  # `test_gate` has what happens without a cookie; here is always one

REFUSALS = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
"""What schemathesis takes for one, and 413: what is too long for its field may be too long for any body."""
schema = schemathesis.openapi.from_dict(
    DESCRIPTION,
    config=SchemathesisConfig.from_dict(
        {"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}
    ),
)


@pytest.fixture(scope="module")
def served(embedded_server: DatabaseServer, password_hash: str) -> Iterator[SimpleNamespace]:
    """A monitor in a thread, with some of everything in its database, and an admin's cookie."""
    dsn = embedded_server.clone()
    cookie = asyncio.run(_fill(dsn, password_hash))
    app = create_app(MonitorOptions(dsn, gateway_url=None, worker_url=None, keeper_url=None))
    server = Server(app, ConnectionLimits(), host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield SimpleNamespace(url=f"http://127.0.0.1:{port}", cookies={COOKIE: cookie})
    server.should_exit = True
    thread.join()
    embedded_server.drop(dsn)


async def _fill(dsn: str, password_hash: str) -> str:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as db:
        facts = Facts(db)
        for number in range(1, IDS + 1):
            await facts.one(
                "INSERT INTO users (name, role, password_hash) VALUES (%s, 'operator', %s) RETURNING id",
                f"user {number}",
                password_hash,
            )
            terminal, vehicle = await facts.terminal(), await facts.vehicle()
            if number % 2:
                await facts.installed(terminal, vehicle)
            await facts.alarm(terminal, vehicle_id=vehicle)
            await facts.ticket(terminal, vehicle_id=vehicle)
            await facts.quarantined(terminal)
        row = await facts.one(
            "INSERT INTO users (name, role, password_hash) VALUES ('root', 'admin', %s) RETURNING id",
            password_hash,
        )
        return await people.open_sign_in(db, row["id"])


@schema.include(path_regex="^/").exclude(path="/api/v1/sign-out").parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_api_is_as_described(case: Any, served: SimpleNamespace) -> None:
    for name, value in case.path_parameters.items():
        if isinstance(value, int) and 0 < value <= MOST:  # beyond it was to be refused
            case.path_parameters[name] = value % IDS + 1
    # A cursor that no list made and an identity of zeros alone are well-formed, and refused.
    case.call_and_validate(
        base_url=served.url,
        cookies=served.cookies,
        excluded_checks=[schemathesis.checks.positive_data_acceptance],
    )


MOMENTS = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-23:59",
    "2026-03-01T08:00:00Z",
)
"""The ends of time, in our zone and beyond it."""
NUMBERS = ("-1", "0", str(2**31), str(2**63 - 1), "9" * 400, "1e400", "NaN")
TEXTS = (
    "",
    "%\\_",
    "\0",
    "\ud800",
    "x" * 9000,
    "nan,nan,nan,nan",
    "0,0,1e400",
    "90,180;-90,-180;90,-180",
    "W10",
)


def edges(parameter: dict[str, Any]) -> tuple[str, ...]:
    """Give what may be too much for a parameter of this kind."""
    kinds = str(parameter["schema"])
    return MOMENTS if "date-time" in kinds else NUMBERS if "integer" in kinds else TEXTS


READS = {
    path: {
        each["name"]: edges(each) for each in operation["get"].get("parameters", []) if each["in"] == "query"
    }
    for path, operation in DESCRIPTION["paths"].items()
    if "get" in operation and path.startswith("/api/v1/")
}


@pytest.mark.parametrize("path", [path for path, questions in READS.items() if questions])
def test_no_value_of_a_question_is_our_fault(path: str, served: SimpleNamespace) -> None:
    """Every edge of every parameter, and the ends of time for both ends of a period."""
    given = READS[path]
    questions: list[dict[str, str]] = [{name: edge} for name, found in given.items() for edge in found]
    if {"from", "to"} <= given.keys():
        questions += [{"from": since, "to": until} for since in MOMENTS for until in MOMENTS]
    path = path.replace("/exports/{name}", "/exports/days")
    address = re.sub(r"{.*?}", "1", path)
    with httpx.Client(base_url=served.url, cookies=served.cookies, timeout=60, trust_env=False) as client:
        for question in questions:
            coded = urlencode(question, errors="surrogatepass")
            status = client.get(f"{address}?{coded}").status_code
            assert status < 500, (address, question, status)
