"""Handshakes on the TLS port that are begun and not ended, from eight addresses."""

import atexit
import shutil
import socket
import ssl
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.gateway.authority import Authority
from tests.hostile.attack import Target
from tests.hostile.many import allow_many_sockets
from tests.ports import reserve

ADDRESSES, OF_EACH = 8, 600
"""More than the door has places for, and less than an address may open at once."""
WITHIN_S = 2.0

_folder = Path(tempfile.mkdtemp(prefix="northwatch-hostile-tls-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
_authority = Authority(_folder)
_files = _authority.issue("gateway")
(_port,) = reserve(1)

SETTINGS = {
    "GATEWAY__EXEMPT_NETWORKS": "[]",
    "GATEWAY__TLS_PORT": str(_port),
    "GATEWAY__TLS_CERTIFICATE": str(_files.certificate),
    "GATEWAY__TLS_KEY": str(_files.key),
}


def attack(target: Target) -> str:
    """Fill the door, and shake hands from somewhere else meanwhile."""
    allow_many_sockets()
    trust = ssl.create_default_context(cafile=_authority.certificate)
    hello, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        trust.wrap_bio(incoming, hello, server_hostname="127.0.0.1").do_handshake()
    except ssl.SSLWantReadError:
        begun = hello.read()
    longest_s = 0.0
    with ExitStack() as held:
        for number in range(ADDRESSES * OF_EACH * (3 if target.is_long else 1)):
            source = f"127.0.1.{number % ADDRESSES}"
            link = held.enter_context(socket.create_connection(("127.0.0.1", _port), 60, (source, 0)))
            try:
                link.sendall((b"", b"\x16", begun)[number // ADDRESSES % 3])
            except OSError:
                continue  # it had to go, as it should
            if number % 1000 == 999:
                longest_s = max(longest_s, _shake_hands(trust))
        longest_s = max(longest_s, _shake_hands(trust))
    if target.is_long:
        assert longest_s <= WITHIN_S, longest_s
    return f"{ADDRESSES * OF_EACH:,} connections; an honest handshake took {longest_s:.2f} s at most"


def _shake_hands(trust: ssl.SSLContext) -> float:
    began = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", _port), 60, ("127.0.2.1", 0)) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1"),
    ):
        return time.monotonic() - began
