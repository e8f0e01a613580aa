"""Attempts to be somebody: counted, checked, and written down where they were in vain."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog

from monitor.center import Center
from monitor.problems import Problem
from monitor.throttle import Attempt, network_of, too_many_attempts
from store import people, second_factor
from store.audit import NOBODY, audit_folded
from store.passwords import password_matches
from store.select import Row

_log = structlog.get_logger("monitor")


@asynccontextmanager
async def trying(center: Center, attempt: Attempt) -> AsyncIterator[Attempt]:
    """Count what happens inside as an attempt; one that raises nothing was no guess.

    Raises:
        Problem: 429, too many attempts.
    """
    if wait_s := center.throttle.begin(attempt, time.monotonic()):
        await note_in_vain(center, "sign_in.locked", attempt)
        raise too_many_attempts(wait_s)
    yield attempt
    center.throttle.succeeded(attempt)


async def proved(center: Center, attempt: Attempt, password: str) -> Row | None:
    """Give the user of this name, who may sign in and has this password; None where there is none such."""
    async with center.database() as connection:
        known = await people.credentials(connection, attempt.name)
    # No connection is held while the hash is worked out.
    async with center.throttle.hashing(attempt):
        is_right = await password_matches(known["password_hash"] if known else None, password)
    return known if known and is_right and not known["disabled"] else None


async def use_code(center: Center, attempt: Attempt, user: Row, code: str | None) -> None:
    """Use a code of the user's second factor up.

    Raises:
        Problem: 401, a code is needed, or it is wrong or was used before.
    """
    if code is None:
        raise Problem(401, "second_factor_needed", "Give a code of your authenticator, or a recovery code.")
    async with trying(center, attempt):
        async with center.database() as connection:
            is_right = await second_factor.accepts(connection, user, code, at=datetime.now(UTC))
        if not is_right:
            await note_in_vain(center, "sign_in.code_failed", attempt)
            raise Problem(401, "wrong_code", "The code is wrong, or was used before.")


async def note_in_vain(center: Center, action: str, attempt: Attempt) -> None:
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
