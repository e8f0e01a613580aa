"""Ids of 17 to 20 digits, all F, 0, and with the low 64 bits of others; then more than the log may hold."""

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.link import Link
from tests.hostile.service import until
from tests.hostile.watch import Felt

MIB = 1 << 20
SETTINGS = {"LOG__QUOTA_BYTES": str(12 * MIB), "LOG__SEGMENT_BYTES": str(MIB)}
IDS = ("12345678901234567", "12345678901234567890", "F" * 20, "F" * 16, "0", "10000013900000001")
SENDERS, FRAMES, BODY = 6, 3_000, bytes(1_000)
"""18 MB, half as much again as the quota."""


def attack(target: Target) -> str:
    """Say one word as each id, then fill the log, and see that the archive goes on and has it all."""
    with target.connect() as link:
        for serial, terminal in enumerate(IDS):
            link.send(wire.frame(terminal, 0x0002, serial=serial, is_2019=True))
        assert len(link.answers(len(IDS))) == len(IDS)
    answered = 0
    for sender in range(SENDERS * (4 if target.is_long else 1)):
        with target.connect() as link:
            answered += _fill(link, f"1371000{sender:04}")
    until(lambda: target.service.health("gateway").get("ok") is True, "a log that is not full")
    target.watch.felt = Felt()  # a full log answers nobody: what counts is how it is afterwards
    chores = until(lambda: target.service.health("keeper").get("chores"), "what the keeper says")
    assert not chores["archive"]["set_aside"], chores
    assert list((target.service.data / "archive").glob("*/*.nwa")), "nothing was sealed"
    proof = target.service.command("verify", "--archive")
    assert proof.returncode == 0 and "everything holds" in proof.stdout, proof.stdout + proof.stderr
    for terminal in IDS:
        if terminal == "0":
            continue  # nobody's number, to the command line
        found = target.service.command("frames", terminal)
        assert len(found.stdout.splitlines()) == 1, (terminal, found.stdout, found.stderr)
    return f"{len(IDS)} odd ids, {answered:,} frames of {len(BODY):,} bytes"


def _fill(link: Link, terminal: str) -> int:
    """Send as much as a terminal may, and return how much of it was answered, which must be all."""
    step = 100
    for begin in range(0, FRAMES, step):
        frames = (wire.frame(terminal, 0x0900, BODY, serial) for serial in range(begin, begin + step))
        link.send(b"".join(frames))
        assert len(link.answers(step)) == step
    return FRAMES
