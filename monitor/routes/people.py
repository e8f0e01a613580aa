"""Signing in and out, users, and the audit of what people changed."""

import time
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

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
    By,
    ByAdmin,
    address_of,
    counted,
    forget_cookie,
    set_cookie,
)
from store import people
from store.select import Row

router = APIRouter(tags=["people"])

WRONG = "Name or password is wrong, or the user is disabled."

_log = structlog.get_logger("monitor")


@router.post("/sign-in", response_model=Person, responses=CHANGES | problems(429))
async def sign_in(given: Credentials, request: Request, response: Response, center: At) -> Row:
    """Sign in and get the session cookie."""
    address = address_of(request)
    async with counted(center.throttle, given.name, address, time.monotonic()):
        async with center.database() as connection:
            known = await people.password_hash_of(connection, given.name)
        # No connection is held while the hash is worked out.
        async with center.throttle.hashing():
            if (
                not await people.password_matches(known[1] if known else None, given.password)
                or known is None
            ):
                _log.warning(
                    "sign-in refused", address=address
                )  # the name may be a password in the wrong field
                raise Problem(401, "sign_in_failed", WRONG)
        async with center.database() as connection:
            cookie = await people.open_sign_in(connection, known[0], center.options.sign_in_lasts)
            person = await people.signed_in(connection, cookie, center.options.sign_in_lasts)
            if person is None:
                raise Problem(401, "sign_in_failed", WRONG)
            await people.audit(connection, person["name"], "signed_in", person["name"], address=address)
    center.remembered.note(cookie, True, time.monotonic())
    set_cookie(response, cookie, secure=center.options.secure_cookie or request.url.scheme == "https")
    return person


@router.post("/sign-out", status_code=204, responses=CHANGES)
async def sign_out(request: Request, response: Response, center: At, by: By) -> None:
    """Sign out; the cookie opens nothing any more."""
    async with center.database() as connection:
        await people.close_sign_in(connection, request.cookies[COOKIE])
    center.remembered.forget(request.cookies[COOKIE])
    forget_cookie(response)


@router.get("/me", response_model=Person, responses=problems())
async def me(by: By) -> Row:
    """Who am I?"""
    return by


@router.post("/me/password", status_code=204, responses=CHANGES | problems(429))
async def change_password(given: PasswordChange, request: Request, center: At, by: By) -> None:
    """Change one's own password; one's other sign-ins end."""
    address = address_of(request)
    async with counted(center.throttle, by["name"], address, time.monotonic()):
        async with center.database() as connection:
            known = await people.password_hash_of(connection, by["name"])
        async with center.throttle.hashing():
            if not await people.password_matches(known[1] if known else None, given.old_password):
                raise Problem(403, "wrong_password", "The old password is wrong.")
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
    """Give a user a new password; all sign-ins of that user end."""
    async with center.database() as connection:
        await people.set_password(connection, user_id, given.password, by=by["name"])


@router.get("/audit", response_model=Page[AuditEntry], responses=problems(400, 403))
async def audit(
    center: At,
    by: ByAdmin,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    user: WordFilter = None,
    action: WordFilter = None,
    since: From = None,
    until: To = None,
) -> Any:
    """What people changed, newest first."""
    async with center.database() as connection:
        return await people.audit_page(
            connection, limit=limit, cursor=cursor, user=user, action=action, since=since, until=until
        )
