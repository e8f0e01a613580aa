"""People: users, their passwords and sign-ins.

A sign-in is kept as the SHA-256 of its cookie: a stolen table opens nothing. Functions here run inside the
caller's transaction; commit before answering.

Refusals: `store.refusals`.
"""

import hashlib
import re
import secrets
from datetime import timedelta
from typing import LiteralString

import psycopg

from store.audit import audit
from store.passwords import check_password, hash_password
from store.refusals import AlreadyExists, LastAdmin, NotFound, Unacceptable
from store.select import Connection, Row, fetch_all, fetch_one

ROLES = ("admin", "operator")
FIRST_ADMIN = "admin"
NAME = re.compile(r"[\w.@-]{1,64}")
"""Letters of any script, digits and `. _ @ -`: what a person can type at a desk at night."""
SIGN_IN_LASTS = timedelta(hours=12)  # one shift
KEY_BYTES = 32
COOKIE_BYTES = 32
COOKIE_FORM = re.compile(r"[A-Za-z0-9_-]{43}")
"""What so many bytes look like."""
PROVED = ("password_hash", "factor", "disabled")
"""By what of the credentials somebody signs in."""
_EVERYBODY = 4711  # advisory lock: one at a time decides whether an admin is the last

USER: LiteralString = (
    "id, name, display_name, role, disabled, must_change_password, created_at,"
    " EXISTS (SELECT FROM second_factors f WHERE f.user_id = users.id AND f.secret IS NOT NULL)"
    " AS has_second_factor"
)


async def ensure_admin(connection: Connection) -> str | None:
    """Add the user `admin` where there are no users yet, and give its password; None when there are users.

    The password exists nowhere else: the caller shows it once.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_EVERYBODY,))
    if await fetch_one(connection, "SELECT 1 AS one FROM users LIMIT 1"):
        return None
    password = secrets.token_urlsafe(12)
    await add_user(connection, FIRST_ADMIN, role="admin", password=password, by="northwatch")
    return password


async def add_user(
    connection: Connection, name: str, *, role: str, password: str, display_name: str = "", by: str
) -> Row:
    """Add a user and give it. Its person must change the password, because somebody else has chosen it.

    Raises:
        Unacceptable: name, role or password.
        AlreadyExists: the name is taken.
    """
    if not NAME.fullmatch(name):
        raise Unacceptable("name", "1 to 64 letters, digits or . _ @ -")
    if role not in ROLES:
        raise Unacceptable("role", "admin or operator")
    check_password(password, name, display_name)
    password_hash = await hash_password(password)
    try:
        async with connection.transaction():
            user = await fetch_one(
                connection,
                "INSERT INTO users (name, display_name, role, password_hash, must_change_password)"
                f" VALUES (%s, %s, %s, %s, true) RETURNING {USER}",
                (name, display_name, role, password_hash),
            )
    except psycopg.errors.UniqueViolation:
        raise AlreadyExists(f"There is a user {name} already.") from None
    assert user is not None
    await audit(connection, by, "user.added", name, role=role)
    return user


async def list_users(connection: Connection) -> list[Row]:
    """Give all users by name."""
    return await fetch_all(connection, f"SELECT {USER} FROM users ORDER BY name")


async def user_named(connection: Connection, name: str) -> Row:
    """Give the user `name`.

    Raises:
        NotFound
    """
    user = await fetch_one(connection, f"SELECT {USER} FROM users WHERE name = %s", (name,))
    if user is None:
        raise NotFound("user", name)
    return user


async def edit_user(connection: Connection, user_id: int, changes: Row, *, by: str) -> Row:
    """Change display_name, role or disabled, and give the user. A disabled user's sign-ins end.

    Raises:
        NotFound
        LastAdmin: nobody could administer any more.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_EVERYBODY,))
    user = await fetch_one(
        connection,
        "UPDATE users SET display_name = coalesce(%(display_name)s, display_name),"
        " role = coalesce(%(role)s, role),"
        f" disabled = coalesce(%(disabled)s, disabled) WHERE id = %(id)s RETURNING {USER}",
        {"display_name": None, "role": None, "disabled": None, **changes, "id": user_id},
    )
    if user is None:
        raise NotFound("user", user_id)
    if not await fetch_one(
        connection, "SELECT 1 AS one FROM users WHERE role = 'admin' AND NOT disabled LIMIT 1"
    ):
        raise LastAdmin(f"{user['name']} is the last admin who can sign in; name another one first.")
    if user["disabled"]:
        await end_sign_ins(connection, user_id)
    await audit(connection, by, "user.changed", user["name"], **changes)
    return user


async def set_password(
    connection: Connection, user_id: int, password: str, *, by: str, keep: str | None = None
) -> None:
    """Give the user a new password; all its sign-ins end, except the one whose cookie is `keep`. Who was
    given it `by` somebody else must change it.

    Raises:
        NotFound
        Unacceptable: the password may not be chosen.
    """
    user = await fetch_one(connection, f"SELECT {USER} FROM users WHERE id = %s", (user_id,))
    if user is None:
        raise NotFound("user", user_id)
    check_password(password, user["name"], user["display_name"])
    await connection.execute(
        "UPDATE users SET password_hash = %s, must_change_password = %s WHERE id = %s",
        (await hash_password(password), by != user["name"], user_id),
    )
    await end_sign_ins(connection, user_id, but=keep)
    await audit(connection, by, "user.password", user["name"])


async def credentials(connection: Connection, name: str) -> Row | None:
    """Give the user `name` with its password_hash and its `factor`, None where there is none."""
    if not NAME.fullmatch(name):
        return None
    return await fetch_one(
        connection,
        f"SELECT {USER}, password_hash,"
        " (SELECT secret FROM second_factors f WHERE f.user_id = users.id) AS factor"
        " FROM users WHERE name = %s",
        (name,),
    )


async def still_holds(connection: Connection, known: Row) -> bool:
    """Say whether the user still signs in by these `credentials`. Whoever changes them ends the user's
    sign-ins, and waits with that until this transaction has ended."""
    await hold_sign_ins(connection, known["id"])
    now = await credentials(connection, known["name"])
    return now is not None and all(now[each] == known[each] for each in PROVED)


async def open_sign_in(connection: Connection, user_id: int, lasts: timedelta = SIGN_IN_LASTS) -> str:
    """Give the value of a new cookie for the user."""
    cookie = secrets.token_urlsafe(COOKIE_BYTES)
    await connection.execute("DELETE FROM sign_ins WHERE expires_at < now()")
    await connection.execute(
        "INSERT INTO sign_ins (token_hash, user_id, expires_at) VALUES (%s, %s, now() + %s)",
        (_token_hash(cookie), user_id, lasts),
    )
    return cookie


async def signed_in(connection: Connection, cookie: str) -> Row | None:
    """Give the user whose cookie this is, None where it is nobody's any more. `until` is when it ends,
    however much it is used, and `lasts_s` how many seconds that is from now on."""
    return await fetch_one(
        connection,
        f"SELECT {USER}, until, lasts_s FROM users JOIN ("
        "   SELECT user_id, expires_at AS until, extract(epoch FROM expires_at - now())::float AS lasts_s"
        "     FROM sign_ins WHERE token_hash = %s AND expires_at > now()"
        " ) s ON s.user_id = users.id WHERE NOT disabled",
        (_token_hash(cookie),),
    )


async def close_sign_in(connection: Connection, cookie: str) -> None:
    """End one sign-in."""
    await connection.execute("DELETE FROM sign_ins WHERE token_hash = %s", (_token_hash(cookie),))


async def end_sign_ins(connection: Connection, user_id: int, *, but: str | None = None) -> None:
    """End all sign-ins of a user, except the one whose cookie is `but`."""
    await hold_sign_ins(connection, user_id)
    await connection.execute(
        "DELETE FROM sign_ins WHERE user_id = %s AND token_hash <> %s",
        (user_id, _token_hash(but) if but else b""),
    )


async def hold_sign_ins(connection: Connection, user_id: int) -> None:
    """Be the only one, until the transaction ends, who opens or ends this user's sign-ins. It comes before
    any lock on the user's second factor."""
    await connection.execute("SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", (user_id,))


async def device_key(connection: Connection) -> bytes:
    """Give the key that signs by which device somebody signed in; it is made when it is first asked for."""
    await connection.execute(
        "INSERT INTO signing_keys (purpose, key) VALUES ('devices', %s) ON CONFLICT DO NOTHING",
        (secrets.token_bytes(KEY_BYTES),),
    )
    row = await fetch_one(connection, "SELECT key FROM signing_keys WHERE purpose = 'devices'")
    assert row is not None
    return bytes(row["key"])


def _token_hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()
