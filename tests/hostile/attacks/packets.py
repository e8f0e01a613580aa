"""Packets of a medium of 2011 that never comes to its end."""

from tests.hostile import wire
from tests.hostile.attack import Target

TERMINAL = "137300000001"
TOTAL = 16_000
AT_ONCE = 100


def attack(target: Target) -> str:
    """Send 8,000 packets of 13 bytes as a terminal of 2011 does; the worker holds them and writes no file."""
    packets = 8000 if target.is_long else 800
    sent = 0
    with target.connect() as link:
        registration = bytes.fromhex("002c012c") + b"ABCDE" + b"T1".ljust(8, b"\0") + b"0000001" + b"\1"
        result, code = link.ask(TERMINAL, 0x0100, registration + "粤B3".encode("gbk"))
        assert result == 0 and link.ask(TERMINAL, 0x0102, code)[0] == 0
        head = (7).to_bytes(4, "big") + bytes([0, 0, 0, 1]) + TOTAL.to_bytes(4, "big")
        for first in range(1, packets, AT_ONCE):
            data = b"".join(
                wire.frame(TERMINAL, 0x0801, head + index.to_bytes(4, "big") + bytes(13), 2 + index)
                for index in range(first, first + AT_ONCE)
            )
            link.send(data)
            sent += len(data)
            assert len(link.answers(AT_ONCE)) == AT_ONCE
    return f"{packets} packets, {sent:,} bytes"
