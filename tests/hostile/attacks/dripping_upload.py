"""An upload that is never finished, while more goes through the log than it holds."""

from tests.hostile import wire
from tests.hostile.attack import Target

QUOTA = 8 << 20
SETTINGS = {
    "LOG__QUOTA_BYTES": str(QUOTA),
    "LOG__SEGMENT_BYTES": str(1 << 20),
    "WORKER__SNAPSHOT_S": "0.5",  # so that a log as small as this is let go in time
    "KEEPER__ARCHIVE": "false",  # the archive has its own reasons to keep the log
}
DRIPPING, TALKING = "137200000001", "137200000002"
TOTAL = 16_000
AT_ONCE = 50


def attack(target: Target) -> str:
    """Send a byte of an upload now and then, and twice the log's quota beside it: all is answered."""
    messages = (20 if target.is_long else 2) * QUOTA // 1000
    with target.connect() as dripping, target.connect() as talking:
        dripping.sign_in(DRIPPING, "粤B20001")
        talking.sign_in(TALKING, "粤B20002")
        drops = 0
        for first in range(0, messages, AT_ONCE):
            if first % (20 * AT_ONCE) == 0:
                drops += 1
                piece = wire.frame(DRIPPING, 0x0801, b"x", 100 + drops, fragment=(TOTAL, drops))
                dripping.send(piece)
                assert len(dripping.answers(1)) == 1, "the drop is answered"
            numbers = range(first, first + AT_ONCE)
            body = b"\xf0".ljust(980, b"x")
            talking.send(b"".join(wire.frame(TALKING, 0x0900, body, number) for number in numbers))
            assert len(talking.answers(AT_ONCE)) == AT_ONCE, "what goes through the log is answered"
    return f"{drops} fragments of one byte; {messages:,} messages of others"
