"""The second factor: codes of an authenticator (TOTP, RFC 6238), and recovery codes for who has lost it.

A secret is what both sides make the codes from, so it cannot be kept as a hash, and encrypting it with a key
beside it would protect nothing: it lies in plain text in a table of its own, `second_factors`, which only the
monitor's role needs to read. Whoever reads that table, or a backup of it, can make codes, and still needs the
password. Recovery codes are kept as hashes.

A code serves once: the step of the last used one is kept, and none before it counts any more.
"""

import hashlib
import hmac
import secrets
from base64 import b32decode, b32encode
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from store.audit import audit
from store.people import end_sign_ins, hold_sign_ins
from store.refusals import NotFound
from store.select import Connection, Row, fetch_one

ISSUER: Final = "Northwatch"
"""How an authenticator names us."""
SECRET_BYTES: Final = 20
DIGITS: Final = 6
STEP_S: Final = 30
"""As every authenticator expects it, with SHA-1."""
RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10
"""80 bits: nobody tries them all, even with the hashes."""
STEPS_AROUND: Final = (0, -1, 1)
"""The code of the present half minute, and those beside it: clocks differ, and people type slowly."""


async def propose(connection: Connection, user_id: int) -> str:
    """Make a new secret for a user and give it; it counts when a code of it was confirmed."""
    secret = b32encode(secrets.token_bytes(SECRET_BYTES)).decode()
    await connection.execute(
        "INSERT INTO second_factors (user_id, proposed) VALUES (%s, %s)"
        " ON CONFLICT (user_id) DO UPDATE SET proposed = EXCLUDED.proposed",
        (user_id, secret),
    )
    return secret


def url_of(secret: str, name: str) -> str:
    """Give the `otpauth` address that an authenticator reads, as a QR code for example."""
    return _totp(secret).get_provisioning_uri(name, ISSUER)


def code_of(secret: str, at: datetime) -> str:
    """Give the code that an authenticator with this secret shows `at` this time."""
    return _totp(secret).generate(at.timestamp()).decode()


async def confirm(
    connection: Connection, user: Row, code: str, *, at: datetime, keep: str
) -> list[str] | None:
    """Let the proposed secret count from now on, where `code` is of it, and give new recovery codes; None
    where it is not. All sign-ins of the user end but the one whose cookie is `keep`."""
    await hold_sign_ins(connection, user["id"])
    row = await fetch_one(
        connection, "SELECT proposed FROM second_factors WHERE user_id = %s FOR UPDATE", (user["id"],)
    )
    step = _step_of(row["proposed"], code, at) if row and row["proposed"] else None
    if step is None:
        return None
    await connection.execute(
        "UPDATE second_factors SET secret = proposed, proposed = NULL, last_step = %s WHERE user_id = %s",
        (step, user["id"]),
    )
    codes = list(_recovery_codes())
    await connection.execute("DELETE FROM recovery_codes WHERE user_id = %s", (user["id"],))
    await connection.execute(
        "INSERT INTO recovery_codes (user_id, code_hash) SELECT %s, unnest(%s::bytea[])",
        (user["id"], [_hash(each) for each in codes]),
    )
    await end_sign_ins(connection, user["id"], but=keep)
    await audit(connection, user["name"], "user.second_factor_set_up", user["name"])
    return codes


async def accepts(connection: Connection, user: Row, code: str, *, at: datetime) -> bool:
    """Use a code of the authenticator or a recovery code up; say whether it was one."""
    row = await fetch_one(
        connection, "SELECT secret FROM second_factors WHERE user_id = %s FOR UPDATE", (user["id"],)
    )
    if row is None or row["secret"] is None:
        return False
    step = _step_of(row["secret"], code, at)
    if step is not None:
        used = await connection.execute(
            "UPDATE second_factors SET last_step = %(step)s WHERE user_id = %(id)s AND last_step < %(step)s",
            {"step": step, "id": user["id"]},
        )
        return used.rowcount == 1
    used = await connection.execute(
        "DELETE FROM recovery_codes WHERE user_id = %s AND code_hash = %s", (user["id"], _hash(code))
    )
    if used.rowcount == 0:
        return False
    left = await fetch_one(
        connection, "SELECT count(*) AS n FROM recovery_codes WHERE user_id = %s", (user["id"],)
    )
    await audit(
        connection, user["name"], "user.recovery_code_used", user["name"], left=left["n"] if left else 0
    )
    return True


async def remove(connection: Connection, user_id: int, *, by: str, keep: str | None = None) -> None:
    """Let a user sign in without a second factor. All sign-ins of the user end but the one whose cookie is
    `keep`.

    Raises:
        NotFound
    """
    await hold_sign_ins(connection, user_id)
    user = await fetch_one(connection, "SELECT name FROM users WHERE id = %s", (user_id,))
    if user is None:
        raise NotFound("user", user_id)
    await connection.execute("DELETE FROM second_factors WHERE user_id = %s", (user_id,))
    await connection.execute("DELETE FROM recovery_codes WHERE user_id = %s", (user_id,))
    await end_sign_ins(connection, user_id, but=keep)
    await audit(connection, by, "user.second_factor_removed", user["name"])


def _step_of(secret: str, code: str, at: datetime) -> int | None:
    """Give the half minute of which this is the code, None where it is of none that counts `at` this time."""
    typed = "".join(code.split()).encode("utf-8", "replace")
    now = int(at.timestamp()) // STEP_S
    steps = (now + around for around in STEPS_AROUND)
    return next((n for n in steps if hmac.compare_digest(_totp(secret).generate(n * STEP_S), typed)), None)


def _totp(secret: str) -> TOTP:
    return TOTP(b32decode(secret), DIGITS, SHA1(), STEP_S)


def _recovery_codes() -> Iterator[str]:
    """Make codes like `abcd-efgh-ijkl-mnop`."""
    for _ in range(RECOVERY_CODES):
        letters = b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()
        yield "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))


def _hash(recovery_code: str) -> bytes:
    """However it is typed: with or without lines, large or small."""
    letters = "".join(filter(str.isalnum, recovery_code.lower()))
    return hashlib.sha256(letters.encode("utf-8", "replace")).digest()
