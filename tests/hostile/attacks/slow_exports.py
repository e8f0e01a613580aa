"""Exports by a person who reads a byte a second, and asks for more."""

import socket
import time

from tests.hostile.attack import Target
from tests.hostile.service import until

ASKED = 20
READ_S = 3.0


def attack(target: Target) -> str:
    """Ask for exports that nobody reads; none of them holds a snapshot of the database."""
    service, held = target.service, []
    request = (
        "GET /api/v1/exports/positions?from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z HTTP/1.1\r\n"
        f"Host: x\r\nCookie: {service.cookie}\r\n\r\n"
    )
    try:
        for _ in range(ASKED):
            slow = socket.create_connection(("127.0.0.1", service.web_port))
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.sendall(request.encode())
            held.append(slow)
        until_s = time.monotonic() + READ_S * (10 if target.is_long else 1)
        while time.monotonic() < until_s:
            for slow in held:
                slow.setblocking(False)
                try:
                    slow.recv(1)
                except OSError:
                    continue
            time.sleep(1.0)
        snapshots = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'northwatch-export'"
        until(lambda: service.row(snapshots)[0] == 0, "the end of all snapshots of exports")
    finally:
        for slow in held:
            slow.close()
    return f"{ASKED} exports asked for"
