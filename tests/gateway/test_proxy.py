"""Who connects through a balancer: headers in any chunking, and nothing behind them is taken."""

import asyncio
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import doors, proxy
from gateway.addresses import AddressLimits
from gateway.proxy import Header, ProxyError, read_header
from gateway.server import Gateway
from protocol.connection import Terminal
from protocol.edition import Edition
from store.records import Rejected, SessionOpened
from tests.gateway.device import Device, logged, running, until

LOOPBACK = (ip_network("127.0.0.0/8"),)

ports = st.integers(0, 0xFFFF)
pairs = st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)) | st.tuples(
    st.ip_addresses(v=6), st.ip_addresses(v=6)
)


def text_header(source: object, destination: object, source_port: int, destination_port: int) -> bytes:
    family = 4 if isinstance(source, IPv4Address) else 6
    return f"PROXY TCP{family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def binary_header(
    body: bytes = b"", *, command: int = 0x21, family: int = 0x11, length: int | None = None
) -> bytes:
    size = len(body) if length is None else length
    return proxy.SIGNATURE + bytes([command, family]) + size.to_bytes(2) + body


def addresses(source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address, *both: int) -> bytes:
    return source.packed + destination.packed + b"".join(port.to_bytes(2) for port in both)


def shown(source: IPv4Address | IPv6Address, port: int) -> str:
    mapped = source.ipv4_mapped if isinstance(source, IPv6Address) else source
    return f"{mapped}:{port}" if mapped else f"[{source}]:{port}"


def check(header: bytes, source: str, rest: bytes) -> None:
    """Every beginning says "more", and from the last byte on it is the same whatever follows."""
    for end in range(len(header)):
        assert read_header(header[:end]) is None
    assert read_header(header) == read_header(header + rest) == Header(len(header), source)


@given(pairs, ports, ports, st.binary(max_size=50))
def test_version_1(
    pair: tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address], a: int, b: int, rest: bytes
) -> None:
    check(text_header(*pair, a, b), shown(pair[0], a), rest)


@given(pairs, ports, ports, st.binary(max_size=200), st.binary(max_size=50))
def test_version_2_with_what_balancers_add(
    pair: tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address],
    a: int,
    b: int,
    tlvs: bytes,
    rest: bytes,
) -> None:
    family = 0x11 if isinstance(pair[0], IPv4Address) else 0x21
    check(binary_header(addresses(*pair, a, b) + tlvs, family=family), shown(pair[0], a), rest)


@given(st.binary(max_size=200), st.sampled_from([0x00, 0x31, 0x32]), st.binary(max_size=50))
def test_who_is_no_internet_address_is_the_balancer(body: bytes, family: int, rest: bytes) -> None:
    check(binary_header(body, family=family), "", rest)
    check(binary_header(body, command=0x20, family=family), "", rest)


def test_a_balancer_that_does_not_know_or_speaks_for_itself() -> None:
    check(b"PROXY UNKNOWN\r\n", "", b"\x7e")
    check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "", b"")
    check(binary_header(command=0x20, family=0), "", b"\x7e")


MALFORMED = {
    b"GET / HTTP/1.1\r\n": "signature",
    b"\x7e": "signature",
    b"PROXZ": "signature",
    proxy.SIGNATURE[:-1] + b"!": "signature",
    b"PROXY \r\n": "malformed",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n": "malformed",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n": "malformed",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 -2\r\n": "malformed",
    b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n": "malformed",
    b"PROXY TCP4 ::1 ::2 1 2\r\n": "malformed",
    b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n": "malformed",
    b"PROXY TCP9 1.2.3.4 5.6.7.8 1 2\r\n": "malformed",
    b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n": "malformed",
    b"PROXY TCP4 \xff.2.3.4 5.6.7.8 1 2\r\n": "malformed",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n": "malformed",
    b"PROXY TCP6 fe80::1%\x1b[2J<b> ::1 1 2\r\n": "malformed",
    b"PROXY " + b"x" * 101: "too_long",
    binary_header(bytes(11)): "malformed",
    binary_header(bytes(35), family=0x21): "malformed",
    binary_header(command=0x11): "malformed",
    binary_header(command=0x22): "malformed",
    binary_header(length=proxy.MAX_HEADER): "too_long",
}


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: data[:30].hex())
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ProxyError) as error:
        read_header(data)
    assert error.value.reason == MALFORMED[data]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for start in (b"", b"PROXY ", proxy.SIGNATURE + b"\x21\x11"):
        try:
            header = read_header(start + data)
        except ProxyError as error:
            assert error.reason in ("signature", "malformed", "too_long")
        else:
            assert header is None or header.length <= len(start + data)


@given(st.binary(max_size=40) | st.text("0123456789abcdefF:.%[]", max_size=40).map(str.encode))
def test_a_source_is_an_address_and_a_port_and_no_other_text(word: bytes) -> None:
    for family in (b"TCP4", b"TCP6"):
        try:
            header = read_header(b"PROXY " + family + b" " + word + b" ::1 1 2\r\n")
        except ProxyError:
            continue
        assert header is None or re.fullmatch(r"(\[[0-9a-f:.]+\]|[0-9.]+):\d+|", header.source)


@given(st.data())
async def test_nothing_behind_the_header_is_taken_however_it_comes(data: st.DataObject) -> None:
    header = data.draw(
        st.sampled_from(
            [
                b"PROXY TCP4 10.1.2.3 5.6.7.8 4711 7611\r\n",
                binary_header(
                    addresses(IPv4Address("10.1.2.3"), IPv4Address("5.6.7.8"), 4711, 7611) + b"tlv"
                ),
            ]
        )
    )
    wire = header + b"\x7ewhat follows"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=6)))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        taking = asyncio.create_task(doors.take_header(ours))
        for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            theirs.sendall(wire[begin:end])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert (await taking).source == "10.1.2.3:4711"
        assert ours.recv(100) == b"\x7ewhat follows"


async def through_balancer(gateway: Gateway, header: bytes, identity: str = "13900000001") -> Device:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(header)
    return Device(Terminal(identity, Edition.E2013), reader, writer)


async def test_the_source_is_the_proxied_one(tmp_path: Path) -> None:
    async with running(tmp_path, balancers=LOOPBACK) as gateway:
        texts = [
            b"PROXY TCP4 10.1.2.3 5.6.7.8 4711 7611\r\n",
            b"PROXY TCP6 2001:db8::7 2001:db8::1 4712 7611\r\n",
            binary_header(addresses(IPv4Address("10.9.9.9"), IPv4Address("1.1.1.1"), 4713, 1) + b"\x04" * 40),
        ]
        for number, header in enumerate(texts, 1):
            device = await through_balancer(gateway, header, str(number))
            await device.sign_in(f"辽A0000{number}")
            await device.close()
        direct = await through_balancer(gateway, binary_header(command=0x20, family=0), "9")
        assert await direct.result(direct.terminal.heartbeat()) == 0
        own = "{}:{}".format(*direct.writer.get_extra_info("sockname"))
    opened = logged(tmp_path / "log").of(SessionOpened)
    assert [event.peer for event in opened] == [
        "10.1.2.3:4711",
        "[2001:db8::7]:4712",
        "10.9.9.9:4713",
        own,
    ]


@pytest.mark.parametrize("source", ["127.0.0.1", "127.9.9.9", "10.1.2.3"])
async def test_a_header_exempts_nobody(tmp_path: Path, source: str) -> None:
    """A balancer on this machine, or in an exempt network, may pass on any address."""
    limits = AddressLimits(connections=1, exempt=(*LOOPBACK, ip_network("10.0.0.0/8")))
    async with running(tmp_path, balancers=LOOPBACK, address_limits=limits) as gateway:
        header = f"PROXY TCP4 {source} 5.6.7.8 4711 7611\r\n".encode()
        first, second = [await through_balancer(gateway, header, str(number)) for number in (1, 2)]
        assert await first.result(first.terminal.heartbeat()) == 0
        await second.closed()
        assert gateway._addresses.refused == {"address_connections": 1}
        own = binary_header(command=0x20, family=0)
        for number in (3, 4):
            checks = await through_balancer(gateway, own, str(number))
            assert await checks.result(checks.terminal.heartbeat()) == 0


async def test_a_frame_in_the_packet_of_the_header(tmp_path: Path) -> None:
    async with running(tmp_path, balancers=LOOPBACK) as gateway:
        device = await through_balancer(gateway, b"")
        serial = device.terminal.heartbeat()
        device.writer.write(b"PROXY TCP4 10.1.2.3 5.6.7.8 1 2\r\n" + device.terminal.data_to_send())
        assert await device.result(serial) == 0


async def test_a_balancer_must_send_a_header(tmp_path: Path) -> None:
    async with running(tmp_path, balancers=LOOPBACK) as gateway:
        device = await through_balancer(gateway, b"")
        device.terminal.heartbeat()
        device.flush()
        await device.closed()
        assert gateway._addresses.refused == {"proxy_signature": 1}
        health_check = await through_balancer(gateway, b"")
        await health_check.close()
        await until(lambda: gateway._addresses.refused.get("proxy_incomplete"))
        assert gateway.health()["connections"] == 0


async def test_a_header_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "HEADER_S", 0.2)
    async with running(tmp_path, balancers=LOOPBACK) as gateway:
        device = await through_balancer(gateway, b"PROXY TCP4 ")
        await device.closed()
        assert gateway._addresses.refused == {"proxy_timeout": 1}


async def test_whom_we_do_not_trust_cannot_lie(tmp_path: Path) -> None:
    async with running(tmp_path, balancers=(ip_network("192.0.2.0/24"),)) as gateway:
        device = await through_balancer(gateway, b"PROXY TCP4 10.1.2.3 5.6.7.8 1 2\r\n")
        assert await device.result(device.terminal.heartbeat()) == 0
    log = logged(tmp_path / "log")
    assert [event.reason for event in log.of(Rejected)] == ["garbage"]
    assert all(event.peer.startswith("127.0.0.1:") for event in log.of(SessionOpened))
