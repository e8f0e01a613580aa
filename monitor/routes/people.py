"""Signing in and out, users, and the audit of what people did."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from monitor.center import Center
from monitor.devices import known_device, remember_device
from monitor.models import (
    AuditEntry,
    CountedPage,
    Credentials,
    NewPassword,
    NewUser,
    Page,
    PasswordChange,
    Person,
    User,
    UserChange,
)
from monitor.problems import Problem
from monitor.routes import (
    CHANGES,
    DEFAULT_LIMIT,
    Cursor,
    From,
    IdPath,
    Limit,
    To,
    WordFilter,
    problems,
)
from monitor.signing import (
    COOKIE,
    At,
    ByAdmin,
    ByAnybody,
    address_of,
    duty,
    forget_cookie,
    set_cookie,
)
from monitor.throttle import Attempt, network_of, too_many_attempts
from store import people
from store.audit import NOBODY, audit, audit_folded, audit_page
from store.passwords import password_matches
from store.refusals import Unacceptable
from store.select import Row

router = APIRouter(tags=["people"])

WRONG = "Name or password is wrong, or the user is disabled."

_log = structlog.get_logger("monitor")


@router.post("/sign-in", response_model=Person, responses=CHANGES | problems(429))
async def sign_in(given: Credentials, request: Request, response: Response, center: At) -> Row:
    """Sign in and get the session cookie."""
    key = await center.device_key()
    device = known_device(key, given.name, request.cookies)
    address = address_of(request)
    async with _attempt(center, Attempt(given.name, address, device)) as attempt:
        known = await _proved(center, attempt, given.password)
        if known is None:
            await _note_in_vain(center, "sign_in.failed", attempt)
            raise Problem(401, "sign_in_failed", WRONG)
        async with center.database() as connection:
            cookie = await people.open_sign_in(connection, known["id"], center.options.sign_in_lasts)
            person = await people.signed_in(connection, cookie)
            if person is None:
                raise Problem(401, "sign_in_failed", WRONG)
            await audit(
                connection,
                person["name"],
                "signed_in",
                person["name"],
                address=address,
                new_device=device is None,
            )
    center.remembered.note(cookie, person["lasts_s"], time.monotonic())
    is_secure = center.options.secure_cookie or request.url.scheme == "https"
    remember_device(response, key, person["name"], device, secure=is_secure)
    set_cookie(response, cookie, secure=is_secure)
    return {**person, "must": duty(person)}


@asynccontextmanager
async def _attempt(center: Center, attempt: Attempt) -> AsyncIterator[Attempt]:
    """Count what happens inside as an attempt; one that raises nothing was no guess.

    Raises:
        Problem: 429, too many attempts.
    """
    if wait_s := center.throttle.begin(attempt, time.monotonic()):
        await _note_in_vain(center, "sign_in.locked", attempt)
        raise too_many_attempts(wait_s)
    yield attempt
    center.throttle.succeeded(attempt)


async def _proved(center: Center, attempt: Attempt, password: str) -> Row | None:
    """Give the user of this name, who may sign in and has this password; None where there is none such."""
    async with center.database() as connection:
        known = await people.credentials(connection, attempt.name)
    # No connection is held while the hash is worked out.
    async with center.throttle.hashing(attempt):
        is_right = await password_matches(known["password_hash"] if known else None, password)
    return known if known and is_right and not known["disabled"] else None


async def _note_in_vain(center: Center, action: str, attempt: Attempt) -> None:
    """Write an attempt down. Those that are locked out cost us nothing, so that they stand there once a
    minute and are not counted."""
    minute, network = int(time.time()) // 60, network_of(attempt.address)
    key, is_new = center.folding.entry((action, attempt.name, network), minute)
    if is_new:
        # The name may be a password in the wrong field.
        _log.warning("sign-in refused", reason=action, network=network if key else "several")
    elif action == "sign_in.locked":
        return
    async with center.database() as connection:
        known = await people.credentials(connection, attempt.name) if key else None
        name = known["name"] if known else NOBODY
        await audit_folded(connection, action, name, minute, network if key else "")


@router.post("/sign-out", status_code=204, responses=CHANGES)
async def sign_out(request: Request, response: Response, center: At, by: ByAnybody) -> None:
    """Sign out; the cookie opens nothing any more."""
    async with center.database() as connection:
        await people.close_sign_in(connection, request.cookies[COOKIE])
        await audit(connection, by["name"], "signed_out", by["name"], address=address_of(request))
    center.remembered.forget(request.cookies[COOKIE])
    forget_cookie(response)


@router.get("/me", response_model=Person, responses=problems())
async def me(by: ByAnybody) -> Row:
    """Who am I?"""
    return by


@router.post("/me/password", status_code=204, responses=CHANGES | problems(429))
async def change_password(given: PasswordChange, request: Request, center: At, by: ByAnybody) -> None:
    """Change one's own password; one's other sign-ins end. The new one has 10 characters or more, and is
    neither the person's name nor one of those that are guessed first."""
    # Whoever is signed in is known by that.
    async with _attempt(center, Attempt(by["name"], address_of(request), request.cookies[COOKIE])) as attempt:
        if await _proved(center, attempt, given.old_password) is None:
            await _note_in_vain(center, "user.password_failed", attempt)
            raise Problem(403, "wrong_password", "The old password is wrong.")
    if given.new_password == given.old_password:
        raise Unacceptable("new_password", "password_unchanged")
    async with center.database() as connection:
        await people.set_password(
            connection, by["id"], given.new_password, by=by["name"], keep=request.cookies[COOKIE]
        )


@router.get("/users", response_model=CountedPage[User], responses=problems(403))
async def users(center: At, by: ByAdmin) -> dict[str, Any]:
    """All users by name. There are few, so `next` is always null."""
    async with center.database() as connection:
        items = await people.list_users(connection)
    return {"items": items, "next": None, "total": len(items)}


@router.post("/users", status_code=201, response_model=User, responses=CHANGES | problems(409))
async def add_user(given: NewUser, center: At, by: ByAdmin) -> Row:
    """Add a user."""
    async with center.database() as connection:
        return await people.add_user(
            connection,
            given.name,
            role=given.role,
            password=given.password,
            display_name=given.display_name,
            by=by["name"],
        )


@router.patch("/users/{user_id}", response_model=User, responses=CHANGES | problems(404, 409))
async def edit_user(user_id: IdPath, given: UserChange, center: At, by: ByAdmin) -> Row:
    """Change a user. The last admin who can sign in stays one."""
    async with center.database() as connection:
        return await people.edit_user(connection, user_id, given.model_dump(exclude_none=True), by=by["name"])


@router.post("/users/{user_id}/password", status_code=204, responses=CHANGES | problems(404))
async def set_password(user_id: IdPath, given: NewPassword, center: At, by: ByAdmin) -> None:
    """Give a user a new password, to be changed when it is first used; all sign-ins of that user end."""
    async with center.database() as connection:
        await people.set_password(connection, user_id, given.password, by=by["name"])


@router.get("/audit", response_model=Page[AuditEntry], responses=problems(400, 403))
async def audited(
    center: At,
    by: ByAdmin,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    user: WordFilter = None,
    action: WordFilter = None,
    since: From = None,
    until: To = None,
) -> Any:
    """What people did, and who tried in vain to sign in, newest first."""
    async with center.database() as connection:
        return await audit_page(
            connection, limit=limit, cursor=cursor, user=user, action=action, since=since, until=until
        )
