"""Proxies: who is named is believed about whose request it is; what anybody else says changes nothing."""

from ipaddress import IPv6Address, ip_network
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import Address, Network
from monitor.options import MonitorOptions
from monitor.proxies import Origin, origin, read_address
from monitor.throttle import TRIES_PER_NAME_AND_ADDRESS
from store.select import Connection
from tests.monitor.conftest import PASSWORD, PATIENCE_S, Served, serve

OWN: tuple[Network, ...] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
LOOPBACK_ONE = (ip_network("127.0.0.1/32"),)

NAMES = [b"x-forwarded-for", b"x-forwarded-proto", b"forwarded", b"x-real-ip", b"via", b"x-forwarded-host"]
ADDRESSES = st.ip_addresses().map(lambda each: read_address(str(each)) or each)
PROXIES = st.one_of(st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="fd00::/8"))
CLIENTS = ADDRESSES.filter(lambda each: not any(each in network for network in OWN))
WORDS = st.sampled_from(
    [
        "127.0.0.1",
        "10.1.1.1",
        "unknown",
        "_x",
        'for="',
        "for=10.0.0.1",
        "proto=https",
        "[::1]:80",
        ",",
        ";",
        '"',
    ]
)
GARBAGE = st.one_of(
    st.lists(WORDS, max_size=8).map(" ".join).map(str.encode),
    st.lists(WORDS, max_size=8).map(",".join).map(str.encode),
    st.binary(max_size=40),
)
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), GARBAGE), max_size=6)


def in_forwarded(address: Address) -> str:
    return f'for="[{address}]:4711"' if isinstance(address, IPv6Address) else f"for={address}"


@given(CLIENTS, st.sampled_from(["http", "https"]), HEADERS)
def test_what_an_unnamed_peer_says_changes_nothing(
    peer: Address, scheme: str, headers: list[tuple[bytes, bytes]]
) -> None:
    found = origin(str(peer), scheme, headers, OWN)
    assert found[:2] == (str(peer), scheme)
    assert found.is_known == (not headers)


@given(GARBAGE, CLIENTS, st.lists(PROXIES, max_size=3), PROXIES, st.sampled_from(["http", "https"]))
def test_the_first_address_from_the_right_that_is_no_proxy_is_the_client(
    invented: bytes, client: Address, chain: list[Address], peer: Address, scheme: str
) -> None:
    way = [client, *chain]
    told = b",".join([invented, *(str(each).encode() for each in way)])
    headers = [(b"x-forwarded-for", told), (b"x-forwarded-proto", scheme.encode())]
    assert origin(str(peer), "http", headers, OWN) == Origin(str(client), scheme, True)
    elements = [f"{in_forwarded(each)};proto={scheme};by=_us" for each in way]
    headers = [(b"forwarded", element.encode()) for element in elements]
    assert origin(str(peer), "http", headers, OWN) == Origin(str(client), scheme, True)


@given(CLIENTS, PROXIES, HEADERS)
def test_nobody_becomes_an_address_that_no_proxy_told(
    client: Address, peer: Address, invented: list[tuple[bytes, bytes]]
) -> None:
    """A proxy writes one of the two headers, and passes on whatever a client puts into the other."""
    told = (b"x-forwarded-for", str(client).encode())
    found = origin(str(peer), "http", [*invented, told], OWN)
    assert (found.address, found.is_known) in ((str(client), True), (str(peer), False))
    element = (b"forwarded", in_forwarded(client).encode())
    others = [each for each in invented if each[0] != b"forwarded"]
    found = origin(str(peer), "http", [*others, element], OWN)
    assert (found.address, found.is_known) in ((str(client), True), (str(peer), False))


@pytest.mark.parametrize(
    ("header", "value", "address", "is_known"),
    [
        ("x-forwarded-for", "203.0.113.7:4711", "203.0.113.7", True),
        ("x-forwarded-for", "[2001:db8::7]:4711, 10.0.0.2", "2001:db8::7", True),
        ("x-forwarded-for", "::ffff:203.0.113.7", "203.0.113.7", True),
        ("x-forwarded-for", "10.0.0.3, 10.0.0.2", "10.0.0.3", True),  # a client beside the proxies
        ("x-forwarded-for", "203.0.113.7, unknown", "10.0.0.1", False),
        ("x-forwarded-for", "fe80::1%eth0", "10.0.0.1", False),
        ("x-forwarded-for", "", "10.0.0.1", False),
        ("forwarded", 'For="[2001:db8::7]"; Proto=https', "2001:db8::7", True),
        ("forwarded", 'for="a\\"b", for=203.0.113.7', "203.0.113.7", True),
        ("forwarded", "for=203.0.113.7, for=_hidden", "10.0.0.1", False),
        ("forwarded", 'for="203.0.113.7', "10.0.0.1", False),
        ("forwarded", "proto=https", "10.0.0.1", False),
        ("x-real-ip", "203.0.113.7", "10.0.0.1", False),
    ],
)
def test_what_proxies_write(header: str, value: str, address: str, is_known: bool) -> None:
    found = origin("10.0.0.1", "http", [(header.encode(), value.encode())], OWN)
    assert (found.address, found.is_known) == (address, is_known)


def options_for(options: MonitorOptions, proxies: tuple[Network, ...], **more: Any) -> MonitorOptions:
    return MonitorOptions(
        options.database_url,
        web_dir=options.web_dir,
        gateway_url=None,
        worker_url=None,
        keeper_url=None,
        proxies=proxies,
        **more,
    )


def browser(served: Served, local_address: str = "127.0.0.1") -> httpx.AsyncClient:
    """A client that comes from this address of the machine."""
    transport = httpx.AsyncHTTPTransport(local_address=local_address)
    return httpx.AsyncClient(base_url=f"http://{served.host}", transport=transport, timeout=PATIENCE_S)


async def sign_in(client: httpx.AsyncClient, password: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/api/v1/sign-in", json={"name": "anna", "password": password}, headers=named)


async def addresses_in_audit(db: Connection) -> list[str]:
    cursor = await db.execute(
        "SELECT detail ->> 'address' AS at FROM audit WHERE action = 'signed_in' ORDER BY id"
    )
    return [row["at"] for row in await cursor.fetchall()]


async def test_limits_audit_and_cookie_go_by_the_client_of_a_named_proxy(
    monitor: Served, options: MonitorOptions, db: Connection
) -> None:
    async with serve(options_for(options, LOOPBACK_ONE)) as served, browser(served) as proxy:
        for _ in range(TRIES_PER_NAME_AND_ADDRESS):
            assert (await sign_in(proxy, "wrong", x_forwarded_for="203.0.113.7")).status_code == 401
        assert (await sign_in(proxy, PASSWORD, x_forwarded_for="203.0.113.7")).status_code == 429
        answer = await sign_in(
            proxy, PASSWORD, x_forwarded_for="203.0.113.7, 203.0.113.8", x_forwarded_proto="https"
        )
        assert answer.status_code == 200 and "; Secure" in answer.headers["set-cookie"]
        assert await addresses_in_audit(db) == ["203.0.113.8"]
        async with browser(served, "127.0.0.2") as other:
            answer = await sign_in(other, PASSWORD, x_forwarded_for="203.0.113.9", x_forwarded_proto="https")
            assert "; Secure" not in answer.headers["set-cookie"]
        assert await addresses_in_audit(db) == ["203.0.113.8", "127.0.0.2"]


async def test_an_unnamed_proxy_gains_no_tries(monitor: Served, db: Connection) -> None:
    async with browser(monitor) as client:
        for number in range(TRIES_PER_NAME_AND_ADDRESS):
            assert (await sign_in(client, "wrong", x_forwarded_for=f"203.0.113.{number}")).status_code == 401
        assert (await sign_in(client, PASSWORD, x_forwarded_for="203.0.113.99")).status_code == 429


async def test_metrics_are_for_this_machine_unless_asked(options: MonitorOptions) -> None:
    async with serve(options_for(options, LOOPBACK_ONE)) as served, browser(served) as proxy:
        assert (await proxy.get("/metrics")).status_code == 200
        for said in ("203.0.113.7", "127.0.0.1, 203.0.113.7", "garbage", ""):
            answer = await proxy.get("/metrics", headers={"x-forwarded-for": said})
            assert (answer.status_code, answer.json()["code"]) == (403, "not_for_this_address")
        async with browser(served, "127.0.0.2") as unnamed:
            assert (await unnamed.get("/metrics")).status_code == 200
            # It stands between us and somebody.
            assert (
                await unnamed.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"})
            ).status_code == 403
    asked = options_for(options, LOOPBACK_ONE, scrapers=(ip_network("203.0.113.0/24"),))
    async with serve(asked) as served, browser(served) as proxy:
        assert (await proxy.get("/metrics")).status_code == 403
        assert (await proxy.get("/metrics", headers={"x-forwarded-for": "203.0.113.7"})).status_code == 200
