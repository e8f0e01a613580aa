"""Addresses: how they are written, listened on, and limited."""

import asyncio
import socket
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import addresses
from gateway.addresses import (
    BURST_S,
    LOOPBACK,
    Addresses,
    AddressLimits,
    Bucket,
    host_of,
    subscriber,
    take,
    text_of,
)
from gateway.fleet import FleetData, FleetTerminal
from gateway.links import Link
from gateway.listening import bind
from gateway.server import Gateway
from protocol.connection import Terminal
from protocol.edition import Edition
from store.records import SessionOpened
from tests.gateway.device import Device, logged, running, until

times = st.lists(st.floats(0, 100), min_size=1, max_size=200).map(sorted)


@given(times, st.floats(0.1, 50))
def test_a_bucket_gives_its_burst_and_its_rate_and_no_more(moments: list[float], rate: float) -> None:
    bucket, taken = Bucket(rate * BURST_S, 0.0), 0
    for now in moments:
        before = bucket
        bucket, is_taken = take(bucket, now, rate)
        taken += is_taken
        assert 0 <= bucket.tokens <= max(rate * BURST_S, 1) and bucket.at == now
        assert is_taken or min(before.tokens + (now - before.at) * rate, rate * BURST_S) < 1
        assert taken <= rate * (BURST_S + now) + 1


def test_a_clock_that_stands_gives_nothing() -> None:
    bucket = Bucket(0.5, 10.0)
    assert take(bucket, 10.0, 100.0) == (bucket, False)
    assert take(bucket, 9.0, 100.0)[1] is False


@given(st.ip_addresses(), st.integers(0, 65535))
def test_what_is_written_can_be_read(address: object, port: int) -> None:
    assert host_of(text_of((str(address), port, 0, 0))) == address


@pytest.mark.parametrize(
    ("peername", "text"),
    [
        (("10.1.2.3", 1), "10.1.2.3:1"),
        (("2001:db8::1", 1, 0, 0), "[2001:db8::1]:1"),
        (("::ffff:10.1.2.3", 1, 0, 0), "10.1.2.3:1"),
        (("fe80::1%eth0", 1, 0, 2), "[fe80::1%eth0]:1"),
        (None, ""),
        ("", ""),
    ],
)
def test_how_an_address_is_written(peername: object, text: str) -> None:
    assert text_of(peername) == text


def test_a_subscriber_has_a_64() -> None:
    assert subscriber(ip_address("2001:db8::1")) == subscriber(ip_address("2001:db8::ffff:1"))
    assert subscriber(ip_address("2001:db8::1")) != subscriber(ip_address("2001:db8:0:1::1"))
    assert subscriber(ip_address("10.0.0.1")) != subscriber(ip_address("10.0.0.2"))


def link_from(peer: str, *, is_told: bool = False) -> Link:
    return Link(None, peer, is_told=is_told)  # type: ignore[arg-type]


def let_in(some: Addresses, link: Link, now: float = 0.0) -> Link | None:
    """Admit a link, which must succeed, and give the one that has to go for it."""
    assert some.admit(link, now)
    return some.meet(link)


LIMITS = AddressLimits(connections=5, connects_per_s=1.0, strangers=3)


def test_each_limit_has_its_reason() -> None:
    some = Addresses(LIMITS)
    links = [link_from("10.0.0.1:1") for _ in range(8)]
    assert [let_in(some, link) for link in links[:4]] == [None, None, None, links[0]]
    links[1].prove()
    links[1].prove()
    assert let_in(some, links[4]) is None
    assert not some.admit(links[5], 0.0)
    some.leave(links[0])
    some.leave(links[0])
    assert let_in(some, links[5]) is links[2], "four are left, three of them strangers"
    assert some.refused == {"address_strangers": 2, "address_connections": 1}
    assert some.admit(link_from("10.0.0.2:1"), 0.0), "another address has its own"
    for _ in range(4):
        some.admit(links[7], 0.0)
    assert some.refused["address_rate"] == 1
    assert some.admit(link_from("127.0.0.1:1"), 0.0)


def test_who_has_left_gives_all_back() -> None:
    some = Addresses(AddressLimits(connections=50, strangers=50))
    links = [link_from(f"10.0.0.{number % 3}:{number}") for number in range(60)]
    for link in links:
        assert let_in(some, link) is None
    for link in links[::2]:
        link.prove()
    for link in links:
        some.leave(link)
    assert all(place.connections == place.strangers == 0 for place in some._places.values())
    assert len(some) == len(some._resting) == 3


@given(st.lists(st.sampled_from(["comes", "speaks", "proves", "leaves"]), max_size=60), st.randoms())
def test_the_silent_go_before_the_rest_and_the_old_before_the_new(deeds: list[str], chance: Random) -> None:
    """Against a list that is searched."""
    some = Addresses(AddressLimits(strangers=3, connects_per_s=1000.0, exempt=()))
    here: list[Link] = []
    strangers: list[Link] = []
    for deed in deeds:
        link = chance.choice(here) if here else None
        if deed == "comes":
            new = link_from("10.0.0.1:1")
            gone = let_in(some, new)
            expected = [each for each in strangers if each.is_mute] or strangers
            assert gone is (expected[0] if len(strangers) == 3 else None)
            if gone is not None:
                strangers.remove(gone)
            here.append(new)
            strangers.append(new)
        elif link is not None and deed == "speaks":
            link.turn = 1
        elif link is not None:
            if deed == "proves":
                link.prove()
            else:
                some.leave(link)
                here.remove(link)
            strangers = [each for each in strangers if each is not link]
    (place,) = some._places.values() or [None]
    assert place is None or (place.strangers, place.connections) == (len(strangers), len(here))


def test_only_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "REMEMBERED", 100)
    some = Addresses(LIMITS)
    stays = link_from("192.0.2.1:1")
    some.admit(stays, 0.0)
    for number in range(1000):
        link = link_from(f"10.0.{number >> 8}.{number & 255}:1")
        assert some.admit(link, 0.0)
        some.leave(link)
    assert len(some) == 101
    assert stays.place is some._places[subscriber(ip_address("192.0.2.1"))]


def test_who_is_exempt_is_not_counted_out() -> None:
    some = Addresses(AddressLimits(connections=1, strangers=1, exempt=(ip_network("10.0.0.0/8"),)))
    assert all(some.admit(link_from("10.0.0.1:1"), 0.0) for _ in range(5000))
    assert some.admit(link_from("127.0.0.1:1"), 0.0) and not some.admit(link_from("127.0.0.1:2"), 0.0)


NOBODY = AddressLimits(exempt=())


async def said_by(gateway: Gateway, host: str, identity: str) -> Device:
    reader, writer = await asyncio.open_connection(host, gateway.port)
    return Device(Terminal(identity, Edition.E2013), reader, writer)


@pytest.mark.parametrize("policy", ["open", "known"])
async def test_strangers_prove_themselves(tmp_path: Path, policy: str) -> None:
    """Under `open` with a valid frame; under `known` a frame is not enough."""
    limits = AddressLimits(strangers=2, exempt=())
    async with running(tmp_path, policy=policy, address_limits=limits) as gateway:
        devices = [await Device.connect(gateway, str(number)) for number in range(1, 3)]
        for device in devices:
            assert await device.result(device.terminal.heartbeat()) == (0 if policy == "open" else 1)
        third = await Device.connect(gateway, "3")
        assert await third.result(third.terminal.heartbeat()) == (0 if policy == "open" else 1)
        if policy == "known":
            await devices[0].closed()
            assert gateway._addresses.refused == {"address_strangers": 1}


@pytest.mark.parametrize("policy", ["open", "known"])
async def test_silent_connections_keep_no_terminal_out(tmp_path: Path, policy: str) -> None:
    limits = AddressLimits(strangers=5, connects_per_s=1000.0, exempt=())
    async with running(tmp_path, policy=policy, address_limits=limits) as gateway:
        gateway.fleet.replace(FleetData({"9": FleetTerminal(known=True)}))
        silent = [await Device.connect(gateway, str(number)) for number in range(1, 30)]
        device = await Device.connect(gateway, "9")
        await device.sign_in()
        more = [await Device.connect(gateway, str(number)) for number in range(30, 60)]
        assert await device.result(device.terminal.heartbeat()) == 0
        for each in silent:
            await each.closed()
        await until(lambda: gateway.health()["connections"] == 1 + limits.strangers)
        for each in [*more, device]:
            await each.close()
        await until(lambda: not gateway.health()["connections"])
        assert all(not place.strangers for place in gateway._addresses._places.values())


def test_a_header_exempts_nobody() -> None:
    some = Addresses(AddressLimits(connections=1, exempt=(ip_network("10.0.0.0/8"), *LOOPBACK)))
    for host in ("10.0.0.1", "127.0.0.1", "[::1]"):
        assert some.admit(link_from(f"{host}:1", is_told=True), 0.0)
        assert not some.admit(link_from(f"{host}:2", is_told=True), 0.0)
        assert some.admit(link_from(f"{host}:3"), 0.0) and some.admit(link_from(f"{host}:4"), 0.0)


async def test_an_address_that_comes_too_often_waits(tmp_path: Path) -> None:
    limits = AddressLimits(connects_per_s=0.2, exempt=())
    async with running(tmp_path, address_limits=limits) as gateway:
        devices = [await Device.connect(gateway, str(number)) for number in range(1, 4)]
        for device in devices[:2]:
            assert await device.result(device.terminal.heartbeat()) == 0
        await devices[2].closed()
        assert gateway._addresses.refused == {"address_rate": 1}
        assert gateway.health()["refused_connections"] == 1 and gateway.health()["connections"] == 2


async def test_over_its_capacity_the_gateway_refuses(tmp_path: Path) -> None:
    async with running(tmp_path, max_connections=1, address_limits=NOBODY) as gateway:
        first = await Device.connect(gateway, "1")
        assert await first.result(first.terminal.heartbeat()) == 0
        second = await Device.connect(gateway, "2")
        await second.closed()
        assert gateway._addresses.refused == {"capacity": 1}
        await first.close()
        await until(lambda: not gateway.health()["connections"])
        third = await Device.connect(gateway, "3")
        assert await third.result(third.terminal.heartbeat()) == 0
        (place,) = gateway._addresses._places.values()
        assert place.connections == 1 and not place.strangers


def needs_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("THIS MACHINE HAS NO IPv6")


async def test_both_families_through_one_socket(tmp_path: Path) -> None:
    needs_ipv6()
    async with running(tmp_path, host="::") as gateway:
        for number, host in enumerate(("127.0.0.1", "::1"), 1):
            device = await said_by(gateway, host, str(number))
            assert await device.result(device.terminal.heartbeat()) == 0
    peers = [event.peer.rpartition(":")[0] for event in logged(tmp_path / "log").of(SessionOpened)]
    assert peers == ["127.0.0.1", "[::1]"]


async def test_several_addresses_share_a_port(tmp_path: Path) -> None:
    needs_ipv6()
    async with running(tmp_path, host=("127.0.0.1", "127.0.0.2", "::1")) as gateway:
        for number, host in enumerate(("127.0.0.1", "127.0.0.2", "::1"), 1):
            device = await said_by(gateway, host, str(number))
            assert await device.result(device.terminal.heartbeat()) == 0
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.3", gateway.port)


def test_beside_an_ipv4_address_ipv6_is_only_that() -> None:
    needs_ipv6()
    both = bind(("0.0.0.0", "::"), 0)
    assert len({each.getsockname()[1] for each in both}) == 1
    for each in both:
        each.close()


def test_processes_may_share_a_port() -> None:
    (first,) = bind(("127.0.0.1",), 0, reuse_port=True)
    port = first.getsockname()[1]
    (second,) = bind(("127.0.0.1",), port, reuse_port=True)
    with pytest.raises(OSError, match=rf"127\.0\.0\.1 port {port} cannot be listened on"):
        bind(("127.0.0.1",), port)
    first.close()
    second.close()


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1 port \d+ cannot be listened on"):
        bind(("127.0.0.1", "192.0.2.1"), 0)
    with pytest.raises(OSError, match=r"nowhere\.invalid port 0 cannot be listened on"):
        bind(("nowhere.invalid",), 0)
