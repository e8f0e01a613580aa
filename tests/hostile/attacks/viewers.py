"""Five hundred WebSockets of one session, none of which reads."""

import re
import socket

from tests.hostile.attack import Target

WANTED = 500
MOST = 20
"""Screens of one session and of those who are watched."""


def attack(target: Target) -> str:
    """Open them and hold them; another screen still finds a place when they are gone."""
    request = (
        "GET /api/v1/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Cookie: {target.service.cookie}\r\n\r\n"
    )
    held: list[socket.socket] = []
    try:
        for number in range(WANTED):
            viewer = socket.create_connection(("127.0.0.1", target.service.web_port))
            viewer.sendall(request.encode())
            held.append(viewer)
            if number % 100 == 0:
                status, _, _ = target.service.request("GET", "/api/v1/me")
                assert status == 200, f"a person was answered {status} beside {number} viewers"
        _, _, metrics = target.service.request("GET", "/metrics")
        found = re.search(rb"^northwatch_viewers\{.*?\} ([0-9.]+)$", metrics, re.MULTILINE)
        assert found is not None and float(found[1]) <= MOST, found
    finally:
        for viewer in held:
            viewer.close()
    return f"{WANTED} WebSockets"
