"""Beginnings of the longest uploads, by many identities, of which nobody is there any more."""

from tests.hostile import wire
from tests.hostile.attack import Target

UPLOADS = 8
LONGEST, TOO_LONG = 16_384, 65_535


def attack(target: Target) -> str:
    """Begin eight uploads as each of many, and go; whoever is asked for the rest is not there."""
    identities = [f"1371{number:07}" for number in range(2000 if target.is_long else 200)]
    sent = 0
    with target.connect() as link:
        for number, identity in enumerate(identities):
            if number % 4 == 0:
                link.sign_in(identity, f"粤B{number:05}")
            total = TOO_LONG if number % 2 else LONGEST
            data = b"".join(
                wire.frame(identity, 0x0704, b"x", 2 + upload, fragment=(total, 1))
                for upload in range(UPLOADS)
            )
            link.send(data)
            sent += len(data)
            assert len(link.answers(UPLOADS)) == UPLOADS
    return f"{len(identities)} identities, {sent:,} bytes"
