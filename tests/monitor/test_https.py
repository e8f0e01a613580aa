"""HTTPS by a certificate of our own: renewed while we run; a handshake without end takes no page away."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvloop

from gateway.certificates import Certificate, CertificateFiles
from monitor import connections
from monitor.connections import ConnectionLimits
from monitor.options import MonitorOptions
from monitor.signing import COOKIE
from tests.gateway.authority import Authority
from tests.monitor.conftest import PASSWORD, PATIENCE_S, Served, serve, until
from tests.monitor.test_connections import end_of, ended, found, opened
from tests.monitor.test_live import message, watch

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """The product runs on uvloop, most tests do not; each has a TLS of its own."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def browser(served: Served, authority: Authority, name: str | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"https://{served.host}",
        verify=ssl.create_default_context(cafile=authority.certificate),
        cookies={COOKIE: served.cookies[name]} if name else {},
        timeout=PATIENCE_S,
        trust_env=False,
    )


async def peer_certificate(served: Served, authority: Authority) -> bytes:
    """What a client that begins now is shown."""
    host, port = served.host.split(":")
    context = ssl.create_default_context(cafile=authority.certificate)
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(shown)


def der(files: CertificateFiles) -> bytes:
    return ssl.PEM_cert_to_DER_cert(files.certificate.read_text())


async def test_a_page_over_https(monitor: Served, options: MonitorOptions, authority: Authority) -> None:
    certificate = Certificate(authority.issue("page"))
    async with serve(replace(options, is_https=True), certificate=certificate) as served:
        async with browser(served, authority) as anna:
            answer = await anna.post("/api/v1/sign-in", json={"name": "anna", "password": PASSWORD})
            assert answer.status_code == 200 and "; Secure" in answer.headers["set-cookie"]
            assert "max-age=" in answer.headers["strict-transport-security"]
            assert (await anna.get("/api/v1/me")).json()["name"] == "anna"
        served.cookies |= monitor.cookies
        async with watch(served, "anna", authority.certificate) as screen:
            await message(screen, "snapshot")
        assert b"HTTP" not in await end_of(await opened(served, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    async with monitor.client() as plain:
        assert "strict-transport-security" not in (await plain.get("/")).headers


async def test_a_request_that_comes_with_the_handshake_is_answered(
    options: MonitorOptions, authority: Authority
) -> None:
    """A client ends its side of the handshake and asks, in one write."""
    certificate = Certificate(authority.issue("page"))
    async with serve(options, certificate=certificate) as served:
        reader, writer = await opened(served)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=authority.certificate)
        client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        while True:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                continue
            break
        client.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write(outgoing.read())
        while True:
            incoming.write(await reader.read(65536))
            try:
                assert client.read(65536).startswith(b"HTTP/1.1 200")
            except ssl.SSLWantReadError:
                continue
            break
        writer.close()


async def test_a_renewed_certificate_serves_who_comes_after_it(
    monkeypatch: pytest.MonkeyPatch, options: MonitorOptions, authority: Authority
) -> None:
    monkeypatch.setattr(connections, "SWEEP_TICKS", 1)
    first = authority.issue("page")
    before = der(first)
    certificate = Certificate(first)
    async with serve(options, certificate=certificate) as served, browser(served, authority) as early:
        assert (await early.get("/healthz")).status_code == 200
        assert await peer_certificate(served, authority) == before
        after = der(authority.issue("page"))
        assert after != before

        async def renewed() -> bool:
            return await peer_certificate(served, authority) == after

        await until(renewed)
        first.key.write_text("no key")
        await until(lambda: found(certificate.fault))  # what cannot be used changes nothing
        assert (await early.get("/healthz")).status_code == 200
        assert await peer_certificate(served, authority) == after


async def test_handshakes_that_do_not_end_take_no_page_away(
    monkeypatch: pytest.MonkeyPatch, options: MonitorOptions, authority: Authority
) -> None:
    certificate = Certificate(authority.issue("page"))
    limits = ConnectionLimits(per_address=20, exempt=())
    async with serve(options, limits, certificate) as served:
        mute = [await opened(served, said) for said in (b"", b"\x16\x03\x01") * 40]
        async with browser(served, authority) as anna:
            assert (await anna.get("/healthz")).status_code == 200
        assert set(ended(served)) == {"for_another"} and len(served.connections) <= 20
        monkeypatch.setattr(connections, "HEADER_S", 0.0)
        for stream in mute:
            await end_of(stream)
        await until(lambda: found(not len(served.connections)))
        assert set(ended(served)) <= {"for_another", "late_handshake", "late_header"}
        assert ended(served)["late_handshake"] > 0
