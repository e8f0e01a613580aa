"""The second factor: a person sets up or removes one's own, an admin removes somebody else's."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from monitor.attempts import note_in_vain, proved, trying, use_code
from monitor.center import Center
from monitor.models import CodeGiven, Proof, RecoveryCodes, SecondFactorProposal
from monitor.problems import NotSignedIn, Problem
from monitor.routes import CHANGES, IdPath, problems
from monitor.signing import COOKIE, At, ByAdmin, ByAnybody, address_of
from monitor.throttle import Attempt
from store import people, second_factor
from store.select import Row

router = APIRouter(tags=["people"])


@router.post("/me/second-factor", response_model=SecondFactorProposal, responses=CHANGES | problems(409, 429))
async def propose(given: Proof, request: Request, center: At, by: ByAnybody) -> dict[str, Any]:
    """Get a new secret for one's authenticator. It counts when a code of it was confirmed. Who has a second
    factor replaces it so, and gives a code of the old one, or a recovery code."""
    if center.options.second_factor == "off":
        raise Problem(409, "second_factor_off", "This center has no second factor (monitor.second_factor).")
    attempt = _attempt(request, by)
    known = await _prove(center, attempt, given.password)
    if known["has_second_factor"]:
        await use_code(center, attempt._replace(by="code"), known, given.code)
    async with center.database() as connection:
        if not await people.still_holds(connection, known):
            raise NotSignedIn
        secret = await second_factor.propose(connection, by["id"])
    return {"secret": secret, "url": second_factor.url_of(secret, by["name"])}


@router.post(
    "/me/second-factor/confirm", response_model=RecoveryCodes, responses=CHANGES | problems(403, 429)
)
async def confirm(given: CodeGiven, request: Request, center: At, by: ByAnybody) -> dict[str, Any]:
    """Let the new secret count, and get the recovery codes, this once. One's other sign-ins end."""
    async with trying(center, _attempt(request, by)._replace(by="code")) as attempt:
        async with center.database() as connection:
            codes = await second_factor.confirm(
                connection, by, given.code, at=datetime.now(UTC), keep=request.cookies[COOKIE]
            )
        if codes is None:
            await note_in_vain(center, "user.code_failed", attempt)
            raise Problem(403, "code_not_confirmed", "The code is not of the secret that was given last.")
    return {"recovery_codes": codes}


@router.post("/me/second-factor/remove", status_code=204, responses=CHANGES | problems(401, 403, 429))
async def remove(given: Proof, request: Request, center: At, by: ByAnybody) -> None:
    """Sign in by the password alone from now on, where this center allows it. One's other sign-ins end."""
    attempt = _attempt(request, by)
    known = await _prove(center, attempt, given.password)
    await use_code(center, attempt._replace(by="code"), known, given.code)
    async with center.database() as connection:
        if not await people.still_holds(connection, known):
            raise NotSignedIn
        await second_factor.remove(connection, by["id"], by=by["name"], keep=request.cookies[COOKIE])


@router.post("/users/{user_id}/second-factor/reset", status_code=204, responses=CHANGES | problems(404, 409))
async def reset(user_id: IdPath, center: At, by: ByAdmin) -> None:
    """Remove the second factor of somebody who has lost it; all sign-ins of that user end."""
    if user_id == by["id"]:
        raise Problem(409, "not_for_oneself", "One's own is removed with a code of it, or by another admin.")
    async with center.database() as connection:
        await second_factor.remove(connection, user_id, by=by["name"])


def _attempt(request: Request, by: Row) -> Attempt:
    """Whoever is signed in is known by that."""
    return Attempt(by["name"], address_of(request), request.cookies[COOKIE])


async def _prove(center: Center, attempt: Attempt, password: str) -> Row:
    async with trying(center, attempt):
        known = await proved(center, attempt, password)
        if known is None:
            await note_in_vain(center, "user.password_failed", attempt)
            raise Problem(403, "wrong_password", "The password is wrong.")
    return known
