"""Thousands of connections to the page that say half a request, or a header without its body."""

import resource
import socket

from tests.hostile.attack import Target

OWN_FILES = 500
"""What the tests themselves need open."""
SAID = (
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ",
    b"POST /api/v1/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 99\r\n\r\n{",
)


def attack(target: Target) -> str:
    """Hold as many as there may be open files, and look at the page beside them."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(20_000, files - OWN_FILES) if target.is_long else min(2_000, files - OWN_FILES)
    held: list[socket.socket] = []
    try:
        for number in range(wanted):
            half = socket.create_connection(("127.0.0.1", target.service.web_port))
            half.sendall(SAID[number % len(SAID)])
            held.append(half)
            if number % 1_000 == 0:
                status, _, _ = target.service.request("GET", "/")
                assert status == 200, f"the page answered {status} beside {number:,} half requests"
        status, _, _ = target.service.request("GET", "/api/v1/me")
        assert status == 200, f"a signed-in person was answered {status} beside {wanted:,} half requests"
    finally:
        for half in held:
            half.close()
    return f"{wanted:,} half requests"
