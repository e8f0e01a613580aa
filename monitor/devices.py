"""The devices from which a person signed in before.

Whoever guesses at a name is slowed down, and so would be the person whose name it is, from wherever somebody
guesses. A device that signed in before proves it by a cookie of its own, which outlives the session: what
fails there is counted there alone, and what fails elsewhere never counts there (`monitor.throttle`).

The cookie is a random name of the device and, signed with our key, that this name and the user's belong
together. It opens nothing. There is one for each user of a device, because shifts share desks.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from fastapi import Response

PREFIX: Final = "northwatch_device_"
PATH: Final = "/api/v1/sign-in"
"""The only place where it is asked for."""
LASTS: Final = timedelta(days=400)
"""From the last sign-in on; no browser keeps a cookie for longer."""
NAME_BYTES: Final = 16
_FORM: Final = re.compile(r"([A-Za-z0-9_-]{22})\.([0-9a-f]{64})")


def known_device(key: bytes, user: str, cookies: Mapping[str, str]) -> str | None:
    """Give the name of the device from which `user` signed in before; None where it is not known."""
    found = _FORM.fullmatch(cookies.get(_cookie_of(user), ""))
    if found is None or not hmac.compare_digest(found[2], _signature(key, user, found[1])):
        return None
    return found[1]


def remember_device(response: Response, key: bytes, user: str, device: str | None, *, secure: bool) -> None:
    """Have the browser remember that `user` signed in with it; `device` is its name, where it had one."""
    device = device or secrets.token_urlsafe(NAME_BYTES)
    response.set_cookie(
        _cookie_of(user),
        f"{device}.{_signature(key, user, device)}",
        max_age=int(LASTS.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=secure,
        path=PATH,
    )


def _cookie_of(user: str) -> str:
    """A cookie's name has no letters but those of ASCII."""
    return PREFIX + hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()[:16]


def _signature(key: bytes, user: str, device: str) -> str:
    return hmac.new(key, f"{device} {user}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
