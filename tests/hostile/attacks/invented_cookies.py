"""Hundreds of connections to the page, each with an invented session again and again."""

import asyncio
import secrets
import threading
import time

from tests.hostile.attack import Target
from tests.hostile.many import allow_many_sockets

CONNECTIONS = 500
ASKED_S = 3.0


def attack(target: Target) -> str:
    """Ask who one is; the administrator's requests are all answered meanwhile."""
    allow_many_sockets()
    until_s = time.monotonic() + ASKED_S * (10 if target.is_long else 1)
    asked: list[int] = []
    attacker = threading.Thread(target=lambda: asked.append(asyncio.run(_ask(target, until_s))))
    attacker.start()
    answered = []
    while attacker.is_alive():
        for path in ("/api/v1/me", "/api/v1/vehicles"):
            status, _, body = target.service.request("GET", path)
            answered.append(status)
            assert status == 200, f"the administrator was answered {status} {body[:200]!r}"
    attacker.join()
    assert answered, "nobody looked at the page meanwhile"
    return f"{sum(asked):,} invented sessions, {len(answered)} honest answers"


async def _ask(target: Target, until_s: float) -> int:
    return sum(await asyncio.gather(*(_ask_over_one(target, until_s) for _ in range(CONNECTIONS))))


async def _ask_over_one(target: Target, until_s: float) -> int:
    count = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", target.service.web_port)
    try:
        while time.monotonic() < until_s:
            cookie = f"Cookie: northwatch_session={secrets.token_urlsafe(32)}"
            writer.write(f"GET /api/v1/me HTTP/1.1\r\nHost: x\r\n{cookie}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
            count += 1
    except (OSError, asyncio.IncompleteReadError):  # told to go, which is an answer as well
        pass
    finally:
        writer.close()
    return count
