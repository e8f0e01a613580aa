"""More than the log may hold while the worker stands; then nobody helps, and it comes back."""

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.service import until
from tests.hostile.watch import Felt

MIB = 1 << 20
SETTINGS = {"LOG__QUOTA_BYTES": str(8 * MIB), "LOG__SEGMENT_BYTES": str(MIB)}
BODY = bytes(1_000)
STEP = 200


def attack(target: Target) -> str:
    """Fill the log, see that its clock goes on, let the worker go on, and have everything answered."""
    sent = answered = 0
    with target.service.frozen("worker"), target.connect() as link:
        while _log(target)["is_full"] is not True:
            sent += STEP
            frames = (wire.frame("13720000001", 0x0900, BODY, serial) for serial in range(sent - STEP, sent))
            link.send(b"".join(frames))
            answered += len(link.answers(STEP, 2.0))
        assert target.service.health("gateway")["reading"] is False
        full_at = _log(target)["durable"]
        until(lambda: _log(target)["durable"] > full_at, "a tick in a full log")
        assert _log(target)["used_bytes"] <= 8 * MIB
    until(lambda: target.service.health("gateway").get("reading"), "a gateway that reads again")
    missing = set(range(answered, sent))
    until(lambda: not _send_again(target, missing), "an answer to everything that was sent again")
    target.watch.come_to_rest()
    target.watch.felt = Felt()  # a full log answers nobody: what counts is how it is afterwards
    return f"{sent * len(BODY) / MIB:.0f} MiB, {sent - answered} frames sent twice"


def _send_again(target: Target, missing: set[int]) -> set[int]:
    """Send over a new link what was not answered, as a terminal does, and return what still is not. What the
    link before had sent may be read only now, and take the terminal over.
    """
    with target.connect() as link:
        for serial in sorted(missing):
            link.send(wire.frame("13720000001", 0x0900, BODY, serial))
        missing -= {serial for _, serial, _, _ in link.answers(len(missing), 10.0)}
    return missing


def _log(target: Target) -> dict[str, object]:
    return dict(until(lambda: target.service.health("gateway").get("log"), "what the gateway says"))
