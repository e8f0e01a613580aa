"""Connections that say nothing, from the address behind which honest terminals are."""

import socket
import time
from contextlib import ExitStack

from tests.hostile.attack import Target
from tests.hostile.attacks.half_handshakes import SETTINGS as SETTINGS
from tests.hostile.many import allow_many_sockets

CONNECTIONS = 2_150
"""More than an address may have that prove nothing."""
BURST, EVERY_S = 900, 0.0105
"""As fast as an address may connect, and a little more slowly: some are left for the honest."""


def attack(target: Target) -> str:
    """Take all places of strangers; a terminal behind the same address signs in all the same."""
    allow_many_sockets()
    with ExitStack() as held:
        for number in range(CONNECTIONS * (2 if target.is_long else 1)):
            held.enter_context(socket.create_connection(("127.0.0.1", target.service.port), 60))
            if number >= BURST:
                time.sleep(EVERY_S)
        time.sleep(1.0)
        with target.connect() as link:
            link.sign_in("13730000001", "辽A37301")
        lost = target.service.health("gateway")["refused_connections"]
    return f"{CONNECTIONS:,} silent connections, {lost:,} of them had to go"
