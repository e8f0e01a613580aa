"""Nobody locks others out, and what was tried in vain stands in the audit, in few lines."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from monitor.devices import PREFIX, known_device
from monitor.folding import ENTRIES_A_MINUTE, Folding
from monitor.problems import Problem
from monitor.signing import is_same_origin
from monitor.throttle import (
    HASHES_WAITING,
    TRIES_PER_ADDRESS,
    TRIES_PER_DEVICE,
    TRIES_PER_NAME_AND_ADDRESS,
    Attempt,
    Throttle,
    network_of,
)
from store.select import Connection
from tests.monitor.conftest import PASSWORD, Served

SIGN_IN = "/api/v1/sign-in"
ANNA = {"name": "anna", "password": PASSWORD}
WRONG = {"name": "anna", "password": "wrong"}


@pytest.fixture
async def desk(monitor: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A browser with which anna signed in before."""
    async with monitor.client() as client:
        assert (await client.post(SIGN_IN, json=ANNA)).status_code == 200
        assert (await client.post("/api/v1/sign-out")).status_code == 204
        yield client


async def test_strangers_cannot_lock_out_a_device_that_signed_in_before(
    desk: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    for _ in range(TRIES_PER_NAME_AND_ADDRESS):
        assert (await stranger.post(SIGN_IN, json=WRONG)).status_code == 401
    assert (await stranger.post(SIGN_IN, json=ANNA)).status_code == 429
    assert (await desk.post(SIGN_IN, json=ANNA)).status_code == 200


async def test_a_known_device_is_counted_by_itself_and_stops_guessing(
    desk: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    for _ in range(TRIES_PER_DEVICE):
        assert (await desk.post(SIGN_IN, json=WRONG)).status_code == 401
    assert (await desk.post(SIGN_IN, json=ANNA)).status_code == 429
    assert (await stranger.post(SIGN_IN, json=ANNA)).status_code == 200


async def test_a_device_knows_each_of_its_people(monitor: Served, desk: httpx.AsyncClient) -> None:
    key = await monitor.app.state.center.device_key()
    assert (await desk.post(SIGN_IN, json={"name": "bo", "password": PASSWORD})).status_code == 200
    cookies = {cookie.name: cookie for cookie in desk.cookies.jar if cookie.name.startswith(PREFIX)}
    assert len(cookies) == 2
    assert all(each.has_nonstandard_attr("HttpOnly") and each.path == SIGN_IN for each in cookies.values())
    values = {name: cookie.value or "" for name, cookie in cookies.items()}
    assert known_device(key, "anna", values) and known_device(key, "bo", values)
    assert known_device(key, "root", values) is None
    swapped = dict(zip(values, reversed(values.values()), strict=True))
    assert known_device(key, "anna", swapped) is None
    assert known_device(b"another key", "anna", values) is None


@given(
    strangers=st.lists(
        st.tuples(st.sampled_from(["anna", "bo", ""]), st.integers(0, 255), st.integers(0, 100)), max_size=200
    )
)
def test_whatever_strangers_do_a_known_device_gets_its_try(strangers: list[tuple[str, int, int]]) -> None:
    throttle = Throttle()
    for name, host, at in strangers:
        throttle.begin(Attempt(name, f"203.0.113.{host}", None), at)
        throttle.begin(Attempt(name, f"203.0.113.{host}", "another device"), at)
    assert throttle.begin(Attempt("anna", "203.0.113.7", "her device"), 100) == 0


async def test_strangers_take_no_place_where_known_devices_wait() -> None:
    throttle, done = Throttle(), asyncio.Event()

    async def check(attempt: Attempt) -> None:
        async with throttle.hashing(attempt):
            await done.wait()

    async with asyncio.TaskGroup() as group:
        for number in range(HASHES_WAITING):
            group.create_task(check(Attempt("anna", f"203.0.113.{number}", None)))
        await asyncio.sleep(0)  # all of them wait now
        with pytest.raises(Problem, match="Too many"):
            await check(Attempt("anna", "203.0.113.200", None))
        known = group.create_task(check(Attempt("anna", "203.0.113.200", "her device")))
        await asyncio.sleep(0)
        assert not known.done()
        done.set()


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_an_address_of_ipv4_is_one_however_it_is_written(one: object, other: object) -> None:
    assert network_of(f"::ffff:{one}") == network_of(str(one)) == str(one)
    assert (network_of(f"::ffff:{one}") == network_of(f"::ffff:{other}")) == (one == other)


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
@pytest.mark.parametrize("is_https", [False, True])
@pytest.mark.parametrize("origin", ["http://desk.example", "https://desk.example", "https://DESK.example"])
def test_the_origin_has_our_scheme_and_host(scheme: str, is_https: bool, origin: str) -> None:
    scope: Scope = {"scheme": scheme, "headers": [(b"host", b"desk.example"), (b"origin", origin.encode())]}
    ours = "https" if is_https or scheme in ("https", "wss") else "http"
    assert is_same_origin(scope, (), is_https=is_https) == origin.startswith(f"{ours}:")
    assert is_same_origin(scope, (origin,), is_https=is_https)


async def test_what_was_tried_in_vain_stands_in_the_audit(
    root: httpx.AsyncClient, stranger: httpx.AsyncClient, desk: httpx.AsyncClient
) -> None:
    for _ in range(TRIES_PER_NAME_AND_ADDRESS + 3):
        await stranger.post(SIGN_IN, json=WRONG)
    await stranger.post(SIGN_IN, json={"name": "correct horse battery", "password": "anna"})
    entries = (await root.get("/api/v1/audit", params={"user": "anna"})).json()["items"]
    assert {each["action"] for each in entries} == {
        "signed_in",
        "signed_out",
        "sign_in.failed",
        "sign_in.locked",
    }
    failed = [each for each in entries if each["action"] == "sign_in.failed"]
    assert sum(each["detail"].get("count", 1) for each in failed) == TRIES_PER_NAME_AND_ADDRESS
    assert {each["detail"]["network"] for each in failed} == {"127.0.0.1"}
    everything = (await root.get("/api/v1/audit")).text
    assert "correct horse battery" not in everything


async def test_an_attacker_cannot_fill_the_audit(monitor: Served, db: Connection) -> None:
    async with monitor.client() as client:
        for number in range(TRIES_PER_ADDRESS):
            await client.post(SIGN_IN, json={"name": f"user {number}", "password": "wrong"})
        for _ in range(2 * TRIES_PER_NAME_AND_ADDRESS):
            assert (await client.post(SIGN_IN, json=WRONG)).status_code == 429
    rows = await (await db.execute("SELECT folded, subject FROM audit")).fetchall()
    minutes = Counter(row["folded"].partition(" ")[0] for row in rows)
    assert max(minutes.values()) <= ENTRIES_A_MINUTE + len(("failed", "locked"))
    assert {row["subject"] for row in rows} <= {"", "anna"}


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 2)), max_size=300))
def test_a_minute_has_few_entries(attempts: list[tuple[str, int]]) -> None:
    folding, entries = Folding(), set()
    for name, minute in sorted(attempts, key=lambda attempt: attempt[1]):
        key, is_new = folding.entry((name,), minute)
        assert is_new == ((minute, key) not in entries)
        assert key in ((name,), None)
        entries.add((minute, key))
    for minute in range(3):
        assert sum(each == minute for each, _ in entries) <= ENTRIES_A_MINUTE + 1
