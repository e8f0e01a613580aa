"""Signing in and out, users, and the audit of what people did."""

import time
from typing import Any

from fastapi import APIRouter, Request, Response

from monitor.attempts import note_in_vain, proved, trying, use_code
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
from monitor.problems import NotSignedIn, Problem
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
from monitor.throttle import Attempt
from store import people
from store.audit import audit, audit_page
from store.refusals import Unacceptable
from store.select import Row

router = APIRouter(tags=["people"])

WRONG = "Name or password is wrong, or the user is disabled."


@router.post("/sign-in", response_model=Person, responses=CHANGES | problems(429))
async def sign_in(given: Credentials, request: Request, response: Response, center: At) -> Row:
    """Sign in and get the session cookie. Who has a second factor gives its `code` as well, or a recovery
    code: 401 `second_factor_needed` says so."""
    key = await center.device_key()
    device = known_device(key, given.name, request.cookies)
    address = address_of(request)
    async with trying(center, Attempt(given.name, address, device)) as attempt:
        known = await proved(center, attempt, given.password)
        if known is None:
            await note_in_vain(center, "sign_in.failed", attempt)
            raise Problem(401, "sign_in_failed", WRONG)
    if known["has_second_factor"] and center.options.second_factor != "off":
        await use_code(center, attempt._replace(by="code"), known, given.code)
    async with center.database() as connection:
        if not await people.still_holds(connection, known):
            raise Problem(401, "sign_in_failed", WRONG)
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
    return {**person, "must": duty(person, center.options.second_factor)}


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
    async with trying(center, Attempt(by["name"], address_of(request), request.cookies[COOKIE])) as attempt:
        known = await proved(center, attempt, given.old_password)
        if known is None:
            await note_in_vain(center, "user.password_failed", attempt)
            raise Problem(403, "wrong_password", "The old password is wrong.")
    if given.new_password == given.old_password:
        raise Unacceptable("new_password", "password_unchanged")
    async with center.database() as connection:
        if not await people.still_holds(connection, known):
            raise NotSignedIn
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


@router.post("/users/{user_id}/password", status_code=204, responses=CHANGES | problems(404, 409))
async def set_password(user_id: IdPath, given: NewPassword, center: At, by: ByAdmin) -> None:
    """Give somebody else a new password, to be changed when it is first used; all sign-ins of that user
    end."""
    if user_id == by["id"]:
        raise Problem(409, "not_for_oneself", "One's own is changed with the old one, or by another admin.")
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
