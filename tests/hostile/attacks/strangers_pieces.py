"""Messages in pieces whose bodies are slow to read, from who was never entered."""

from tests.hostile import wire
from tests.hostile.attack import Target

SETTINGS = {"GATEWAY__POLICY": "known"}
STRANGER = "137000000001"
PIECE = 1000


def attack(target: Target) -> str:
    """Send a 0x0104 of 102 KB or 1.3 MB, one parameter again and again; nothing of it is put together."""
    parameters = (1300 if target.is_long else 102) * PIECE // 5
    body = b"\0\1\xff" + b"\0\0\0\1\0" * parameters
    pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
    frames = [
        wire.frame(STRANGER, 0x0104, piece, number, fragment=(len(pieces), number))
        for number, piece in enumerate(pieces, 1)
    ]
    with target.connect() as link:
        link.send(b"".join(frames))
        answers = link.answers(len(frames))
    assert [result for _, _, result, _ in answers] == [1] * len(frames), "each is answered, and refused"
    count = "SELECT count(*) FROM messages JOIN terminals t ON t.id = terminal_id WHERE t.identity = %s"
    assert target.service.row(count, STRANGER) == (0,)
    return f"{len(frames)} fragments, {sum(map(len, frames)):,} bytes"
