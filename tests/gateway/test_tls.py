"""TLS: the same gateway behind a handshake, certificates that are renewed, and peers that speak no TLS."""

import asyncio
import os
import random
import resource
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization

from gateway import doors
from gateway.addresses import LOOPBACK, AddressLimits
from gateway.certificates import CertificateError, CertificateFiles, expiry, load
from gateway.server import Gateway
from protocol.connection import Terminal
from protocol.edition import Edition
from store.records import SessionOpened
from tests.gateway.authority import Authority
from tests.gateway.device import Device, logged, report, running, until


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def connect(
    gateway: Gateway,
    authority: Authority,
    identity: str = "13900000001",
    *,
    own: CertificateFiles | None = None,
    first: bytes = b"",
    local: tuple[str, int] | None = None,
) -> Device:
    """Connect over TLS from `local`; `own` is a certificate, `first` goes before the handshake."""
    trust = ssl.create_default_context(cafile=authority.certificate)
    if own is not None:
        trust.load_cert_chain(own.certificate, own.key)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.tls_port, local_addr=local)
    if first:
        writer.write(first)
    await writer.start_tls(trust, server_hostname="127.0.0.1")
    return Device(Terminal(identity, Edition.E2013), reader, writer)


def name_shown(device: Device) -> str:
    subject = device.writer.get_extra_info("peercert")["subject"]
    return str(dict(each[0] for each in subject)["commonName"])


def renewed(files: CertificateFiles) -> None:
    """Make sure that a file written within the clock's grain is seen as new."""
    later = files.certificate.stat().st_mtime_ns + 1_000_000_000
    os.utime(files.certificate, ns=(later, later))


async def test_a_terminal_over_tls_beside_one_without(tmp_path: Path, authority: Authority) -> None:
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        device, plain = await connect(gateway, authority, "1"), await Device.connect(gateway, "2")
        await device.sign_in()
        await plain.sign_in("辽A00002")
        serials = [device.terminal.report(report(second)) for second in range(50)]
        device.flush()
        assert [(await device.fields())["ack_serial"] for _ in serials] == serials
        assert await plain.result(plain.terminal.heartbeat()) == 0
        assert device.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        source = "{}:{}".format(*device.writer.get_extra_info("sockname"))
        await device.close()
        await until(lambda: gateway.health()["connections"] == 1)
    log = logged(tmp_path / "log")
    assert len(log.frames) == 2 + 2 + 50 + 1
    assert log.of(SessionOpened)[0].peer == source


async def test_a_flood_over_tls_is_read_in_turns(tmp_path: Path, authority: Authority) -> None:
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        device = await connect(gateway, authority)
        sent = 5000
        for _ in range(sent):
            device.terminal.heartbeat()
        device.flush()
        for _ in range(sent):
            await device.answer()
        assert gateway.health()["frames"] == sent


async def test_a_renewed_certificate_serves_new_connections_and_old_ones_stay(
    tmp_path: Path, authority: Authority
) -> None:
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        old = await connect(gateway, authority, "1")
        await old.sign_in()
        other = authority.issue("other", days=7)
        (tmp_path / "gateway.key").write_bytes(other.key.read_bytes())
        gateway._second()
        assert "no usable pair" in gateway.health()["tls"]["fault"], "half of it is there"
        between = await connect(gateway, authority, "2")
        assert name_shown(between) == "gateway"
        (tmp_path / "gateway.crt").write_bytes(other.certificate.read_bytes())
        gateway._second()
        state = gateway.health()["tls"]
        assert not state["fault"] and 6.9 < state["days_left"] <= 7
        new = await connect(gateway, authority, "3")
        assert name_shown(new) == "other"
        for device in (old, between, new):
            assert await device.result(device.terminal.heartbeat()) == 0


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
async def test_a_broken_certificate_changes_nothing(
    tmp_path: Path, authority: Authority, content: bytes | None
) -> None:
    files = authority.issue("gateway")
    good = files.certificate.read_bytes()
    async with running(tmp_path, tls_port=0, certificate=files) as gateway:
        if content is None:
            files.certificate.unlink()
        else:
            files.certificate.write_bytes(content)
        gateway._second()
        fault = gateway.health()["tls"]["fault"]
        assert "gateway.crt" in fault and gateway.health()["ok"]
        device = await connect(gateway, authority)
        assert await device.result(device.terminal.heartbeat()) == 0
        files.certificate.write_bytes(good)
        renewed(files)
        gateway._second()
        assert not gateway.health()["tls"]["fault"]


async def test_garbage_costs_its_connection_only(tmp_path: Path, authority: Authority) -> None:
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        device = await connect(gateway, authority)
        junk = [
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x7e\x00\x02",
            b"\x16\x03\x01" + bytes(600),
            random.Random(1).randbytes(3000),
        ]
        for data in junk:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.tls_port)
            writer.write(data)
            stranger = Device(Terminal("2", Edition.E2013), reader, writer)
            if data == b"\x7e\x00\x02":  # too short to be refused
                await stranger.close()
            else:
                await stranger.closed()
        await until(lambda: sum(gateway._addresses.refused.values()) == len(junk))
        assert set(gateway._addresses.refused) <= {"tls_handshake", "tls_incomplete"}
        assert await device.result(device.terminal.heartbeat()) == 0
        assert gateway._listening.pending == 0 and gateway.health()["connections"] == 1


async def test_garbage_after_the_handshake_ends_the_link(tmp_path: Path, authority: Authority) -> None:
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        device, other = await connect(gateway, authority, "1"), await connect(gateway, authority, "2")
        await device.sign_in()
        raw = os.dup(device.writer.get_extra_info("socket").fileno())
        os.write(raw, b"this is no record of TLS" * 10)
        os.close(raw)
        await until(lambda: gateway.health()["connections"] == 1)
        assert await other.result(other.terminal.heartbeat()) == 0


def hello() -> bytes:
    """Give the beginning of a handshake."""
    own, wire = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(own, wire, server_hostname="127.0.0.1").do_handshake()
    return wire.read()


class Said(NamedTuple):
    """What somebody said before it fell silent, and how long it has from there."""

    data: bytes
    deadline: str


@pytest.mark.parametrize(
    "said",
    [Said(b"", "HELLO_S"), Said(b"\x16\x03\x01", "HELLO_S"), Said(hello(), "HANDSHAKE_S")],
    ids=["nothing", "a part of a hello", "a hello"],
)
async def test_a_handshake_has_a_deadline(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    monkeypatch.setattr(doors, said.deadline, 0.3)
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.tls_port)
        writer.write(said.data)
        silent = Device(Terminal("1", Edition.E2013), reader, writer)
        await silent.closed()
        await until(lambda: gateway._addresses.refused == {"tls_timeout": 1})


class Crowd(NamedTuple):
    """Connections of one address, and what they said."""

    host: str
    sockets: list[socket.socket]


def crowd(gateway: Gateway, host: str, count: int, said: bytes = b"") -> Crowd:
    own = [
        socket.create_connection(("127.0.0.1", gateway.tls_port), source_address=(host, 0))
        for _ in range(count)
    ]
    for each in own:
        each.sendall(said)
    return Crowd(host, own)


def left_of(some: Crowd) -> int:
    """Count those that are not closed by the gateway."""
    left = 0
    for each in some.sockets:
        each.setblocking(False)
        try:
            left += each.recv(100) != b""
        except BlockingIOError:
            left += 1
        except ConnectionError:
            pass
    return left


EVERYBODY = AddressLimits(exempt=())


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's time is up while a test fills a door."""
    monkeypatch.setattr(doors, "HELLO_S", 600.0)
    monkeypatch.setattr(doors, "HANDSHAKE_S", 600.0)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("said", [b"", b"\x16", hello()], ids=["nothing", "a byte", "a hello"])
async def test_one_address_has_a_part_of_the_handshakes(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """Its newest ones: who is behind the same address is let in."""
    monkeypatch.setattr(doors, "MAX_PENDING_OF_ADDRESS", 10)
    options = {"tls_port": 0, "certificate": authority.issue("gateway"), "address_limits": EVERYBODY}
    async with running(tmp_path, **options) as gateway:
        some = crowd(gateway, "127.0.0.2", 40, said)
        await until(lambda: gateway._addresses.refused == {"tls_crowded": 30})
        assert gateway._listening.pending == 10
        await until(lambda: left_of(some) == 10 or len(said) > 1)  # a hello is answered
        device = await connect(gateway, authority, local=("127.0.0.2", 0))
        assert await device.result(device.terminal.heartbeat()) == 0
        for each in some.sockets:
            each.close()
        await until(lambda: gateway._listening.pending == 0)
        (place,) = gateway._addresses._places.values()
        assert (place.connections, place.strangers) == (1, 0) and not gateway._listening._doors[0]._comers


@pytest.mark.usefixtures("unhurried")
async def test_a_full_door_is_open_for_who_has_few(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "MAX_PENDING", 40)
    monkeypatch.setattr(doors, "MAX_PENDING_OF_ADDRESS", 10)
    options = {"tls_port": 0, "certificate": authority.issue("gateway"), "address_limits": EVERYBODY}
    async with running(tmp_path, **options) as gateway:
        few = crowd(gateway, "127.0.0.99", 2)
        crowds = [crowd(gateway, f"127.0.0.{number}", 20) for number in range(2, 12)]
        await until(lambda: sum(gateway._addresses.refused.values()) >= 202 - 40)
        assert left_of(few) == 2
        device = await connect(gateway, authority, local=("127.0.0.100", 0))
        assert await device.result(device.terminal.heartbeat()) == 0
        assert set(gateway._addresses.refused) == {"tls_crowded"}
        for each in [few, *crowds]:
            for one in each.sockets:
                one.close()


async def test_failed_handshakes_leave_nothing_behind(tmp_path: Path, authority: Authority) -> None:
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        before = descriptors()
        for _ in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.tls_port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await Device(Terminal("1", Edition.E2013), reader, writer).closed()
            writer.close()
        await until(lambda: gateway._addresses.refused == {"tls_handshake": 50})
        await until(lambda: descriptors() < before + 10)
        assert gateway._listening.pending == 0


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_without_descriptors_connections_wait(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "REST_S", 0.1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        some = [socket.create_connection(("127.0.0.1", gateway.tls_port)) for _ in range(20)]
        highest = max(each.fileno() for each in some)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 5, hard))
            door = gateway._listening._doors[0]
            await until(lambda: not door._is_accepting)
            assert 0 < len(door) < 20
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: len(door) == 20)
        for each in some:
            each.close()
        await until(lambda: len(door) == 0)
        device = await connect(gateway, authority)
        assert await device.result(device.terminal.heartbeat()) == 0


async def test_who_is_not_through_when_the_gateway_stops(tmp_path: Path, authority: Authority) -> None:
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.tls_port)
        await until(lambda: gateway._listening.pending == 1)
    await Device(Terminal("1", Edition.E2013), reader, writer).closed()


async def test_only_terminals_with_a_certificate(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue("gateway")
    strict = CertificateFiles(certificate=files.certificate, key=files.key, client_ca=authority.certificate)
    forged = Authority(tmp_path, "forger").issue("terminal")
    async with running(tmp_path, tls_port=0, certificate=strict) as gateway:
        for own in (None, forged):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                stranger = await connect(gateway, authority, own=own)
                stranger.terminal.heartbeat()  # TLS 1.3 refuses after the client thinks that it is through
                stranger.flush()
                await stranger.answer()
        await until(lambda: sum(gateway._addresses.refused.values()) == 2)
        device = await connect(gateway, authority, own=authority.issue("device"))
        assert await device.result(device.terminal.heartbeat()) == 0


async def test_old_versions_are_refused(tmp_path: Path, authority: Authority) -> None:
    async with running(tmp_path, tls_port=0, certificate=authority.issue("gateway")) as gateway:
        trust = ssl.create_default_context(cafile=authority.certificate)
        trust.maximum_version = ssl.TLSVersion.TLSv1_2
        device = Device(
            Terminal("1", Edition.E2013),
            *await asyncio.open_connection("127.0.0.1", gateway.tls_port, ssl=trust),
        )
        assert await device.result(device.terminal.heartbeat()) == 0
    assert load(authority.issue("gateway")).minimum_version == ssl.TLSVersion.TLSv1_2


async def test_tls_behind_a_balancer(tmp_path: Path, authority: Authority) -> None:
    options = {"tls_port": 0, "certificate": authority.issue("gateway"), "balancers": LOOPBACK}
    async with running(tmp_path, None, **options) as gateway:
        header = b"PROXY TCP4 10.1.2.3 5.6.7.8 4711 7612\r\n"
        device = await connect(gateway, authority, first=header)
        await device.sign_in()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(gateway, authority)
    assert [event.peer for event in logged(tmp_path / "log").of(SessionOpened)] == ["10.1.2.3:4711"]


def test_what_is_wrong_with_files(tmp_path: Path, authority: Authority) -> None:
    good, other = authority.issue("gateway"), authority.issue("other")
    with pytest.raises(CertificateError, match="no usable pair"):
        load(CertificateFiles(certificate=good.certificate, key=other.key))
    with pytest.raises(CertificateError, match=r"none\.key: No such file"):
        load(CertificateFiles(certificate=good.certificate, key=tmp_path / "none.key"))
    with pytest.raises(CertificateError, match="holds no certificate"):
        load(CertificateFiles(certificate=good.certificate, key=good.key, client_ca=good.key))
    key = serialization.load_pem_private_key(good.key.read_bytes(), None)
    (tmp_path / "secret.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(CertificateError, match="encrypted"):
        load(CertificateFiles(certificate=good.certificate, key=tmp_path / "secret.key"))
    with pytest.raises(CertificateError, match=r"gateway\.key"):
        expiry(good.key)


def test_how_long_a_certificate_is_valid(authority: Authority) -> None:
    left = expiry(authority.issue("gateway", days=30).certificate) - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)
