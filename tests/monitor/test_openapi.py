"""The running API against its own description: schemathesis on a real server and database."""

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from psycopg.rows import dict_row
from schemathesis.config import SchemathesisConfig

from monitor.app import create_app
from monitor.options import MonitorOptions
from monitor.signing import COOKIE
from store import people
from tests.databases import Server
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
def served(embedded_server: Server, password_hash: str) -> Iterator[SimpleNamespace]:
    """A monitor in a thread, with some of everything in its database, and an admin's cookie."""
    dsn = embedded_server.clone()
    cookie = asyncio.run(_fill(dsn, password_hash))
    app = create_app(MonitorOptions(dsn, gateway_url=None, worker_url=None, keeper_url=None))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
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
