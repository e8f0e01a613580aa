"""Who asks, and whether it is that person's own page that asks.

The cookie is SameSite=Strict, so another site's page cannot send it; `Origin` and `Sec-Fetch-Site` are
checked besides, for browsers and networks where that is not enough (another port of the same host is the
same "site").
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Response
from fastapi.security import APIKeyCookie
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from monitor.options import SecondFactor
from monitor.problems import AdminOnly, DutyFirst, NotSignedIn, Problem
from monitor.throttle import network_of
from store import people
from store.select import Row

if TYPE_CHECKING:
    from monitor.center import Center

COOKIE = "northwatch_session"

MAX_REMEMBERED = 1000
"""Sign-ins that pass by the queue of strangers, and of which the health stays readable while the database is
away."""
MAX_REFUSED = 10_000
REFUSED_LASTS_S = 60.0
"""A cookie that was nobody's is not looked up again for so long: no session gets an invented value."""
LOOKUPS_AT_ONCE = 2
"""Unknown cookies that are looked up together: the other connections to the database are for people."""
LOOKUPS_WAITING = 64
"""A lookup takes a millisecond or two."""
LOOKUPS_WAITING_PER_ADDRESS = LOOKUPS_WAITING // 2
"""… so that one address cannot keep everybody else's out."""
LOOKUP_WAIT_S = 3.0
"""As long as for a connection to the database."""

_cookie = APIKeyCookie(name=COOKIE, auto_error=False)


def center_of(connection: HTTPConnection) -> "Center":
    """Give the center to which the request came."""
    center: Center = connection.app.state.center
    return center


async def anybody(connection: HTTPConnection, cookie: Annotated[str | None, Depends(_cookie)] = None) -> Row:
    """Give the user who asks, whatever that person has to do first (`must`).

    Raises:
        NotSignedIn
    """
    user = await user_of(center_of(connection), connection.cookies.get(COOKIE), address_of(connection))
    if user is None:
        raise NotSignedIn
    return user


async def signed_in(user: Annotated[Row, Depends(anybody)]) -> Row:
    """Give the user who asks.

    Raises:
        NotSignedIn
        DutyFirst
    """
    if user["must"]:
        raise DutyFirst(user["must"])
    return user


def duty(user: Row, policy: SecondFactor) -> str | None:
    """Say what a person has to do before the account can do anything else, None where there is nothing."""
    if user["must_change_password"]:
        return "change_password"
    is_needed = policy == "all" or (policy == "administrators" and user["role"] == "admin")
    return "set_up_second_factor" if is_needed and not user["has_second_factor"] else None


def address_of(connection: HTTPConnection) -> str:
    """Give the address from which a request came."""
    return connection.client.host if connection.client else ""


async def user_of(center: "Center", cookie: str | None, address: str) -> Row | None:
    """Give the user with this cookie, None where it is nobody's (any more).

    Raises:
        Problem: 503, nobody knows the cookie and too many such are being looked up.
    """
    if not cookie or not people.COOKIE_FORM.fullmatch(cookie):
        return None
    if center.remembered.refuses(cookie, time.monotonic()):
        return None
    if center.remembered.knows(cookie, time.monotonic()):
        return await _look_up(center, cookie)
    return await center.strangers.once(cookie, lambda: _look_up_strange(center, cookie, address))


async def _look_up_strange(center: "Center", cookie: str, address: str) -> Row | None:
    async with center.strangers.looking(address):
        return await _look_up(center, cookie)


async def _look_up(center: "Center", cookie: str) -> Row | None:
    async with center.database() as connection:
        user = await people.signed_in(connection, cookie)
    center.remembered.note(cookie, user["lasts_s"] if user else None, time.monotonic())
    return user and {**user, "must": duty(user, center.options.second_factor)}


async def until_signed_out(connection: HTTPConnection, user: Row, every_s: float) -> None:
    """Return when the sign-in of `user` ends, or else when a look, every so often, shows that this cookie is
    nobody's any more who may use it. While the database is away, whoever was in stays in until then.
    """
    center, cookie = center_of(connection), connection.cookies.get(COOKIE)
    ends_at = time.monotonic() + user["lasts_s"]
    while (left_s := ends_at - time.monotonic()) > 0:
        await asyncio.sleep(min(every_s, left_s))
        with suppress(Exception):
            now = await user_of(center, cookie, address_of(connection))
            if now is None or now["must"]:
                return


async def watching(
    connection: HTTPConnection, cookie: Annotated[str | None, Depends(_cookie)] = None
) -> None:
    """Let somebody read the health: who is signed in, and while the database is away who was until then.

    Raises:
        NotSignedIn
    """
    center, shown = center_of(connection), connection.cookies.get(COOKIE, "")
    if not (center.health.database_is_away and center.remembered.knows(shown, time.monotonic())):
        await signed_in(await anybody(connection))


async def admin(user: Annotated[Row, Depends(signed_in)]) -> Row:
    """Give the admin who asks.

    Raises:
        AdminOnly
    """
    if user["role"] != "admin":
        raise AdminOnly
    return user


At = Annotated[Any, Depends(center_of)]
"""The `Center`, as a route's parameter."""
By = Annotated[Row, Depends(signed_in)]
"""The user who asks, as a route's parameter."""
ByAnybody = Annotated[Row, Depends(anybody)]
"""… who may have something to do first."""
ByAdmin = Annotated[Row, Depends(admin)]
"""The admin who asks, as a route's parameter."""


def set_cookie(response: Response, value: str, *, secure: bool) -> None:
    """Give the browser its cookie. It has no age: the database knows until when it counts."""
    response.set_cookie(COOKIE, value, httponly=True, samesite="strict", secure=secure, path="/")


def forget_cookie(response: Response) -> None:
    """Have the browser forget its cookie."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")


def is_same_origin(scope: Scope, trusted: Iterable[str], *, is_https: bool) -> bool:
    """Say whether a request that changes something came from our own page, or from no page at all (a
    program). `is_https`: pages reach us by HTTPS only, also where the proxy before us does not say so.
    """
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    scheme = "https" if is_https or scope["scheme"] in ("https", "wss") else "http"
    return origin in trusted or origin.lower() == f"{scheme}://{headers.get('host', '').lower()}"


class Remembered:
    """Cookies that the database knew when it was last asked, each until its sign-in ends, and for a minute
    those that it did not know.
    """

    def __init__(self) -> None:
        self._known_until: OrderedDict[str, float] = OrderedDict()
        self._refused_until: OrderedDict[str, float] = OrderedDict()

    def note(self, cookie: str, lasts_s: float | None, now: float) -> None:
        """Remember what the database said of a cookie: for how long its sign-in lasts, None where it is
        nobody's."""
        self.forget(cookie)
        if lasts_s is None:
            noted, most, lasts_s = self._refused_until, MAX_REFUSED, REFUSED_LASTS_S
        else:
            noted, most = self._known_until, MAX_REMEMBERED
        noted[cookie] = now + lasts_s
        while len(noted) > most:
            noted.popitem(last=False)

    def forget(self, cookie: str) -> None:
        """Its person signed out."""
        self._known_until.pop(cookie, None)
        self._refused_until.pop(cookie, None)

    def knows(self, cookie: str, now: float) -> bool:
        """Was this cookie somebody's, the last time that anybody could tell?"""
        return now < self._known_until.get(cookie, now)

    def refuses(self, cookie: str, now: float) -> bool:
        """Was this cookie nobody's, a moment ago?"""
        return now < self._refused_until.get(cookie, now)


class Strangers:
    """Lets few cookies that nobody knows be looked up at once, and few wait for it: inventing them costs
    nothing.
    """

    def __init__(self) -> None:
        self._looking = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self._from: Counter[str] = Counter()
        self._asked: dict[str, asyncio.Task[Row | None]] = {}
        """By cookie: what is being looked up."""

    async def once(self, cookie: str, look_up: Callable[[], Coroutine[Any, Any, Row | None]]) -> Row | None:
        """Look a cookie up, once for all who ask meanwhile: a page begins with many requests at once."""
        task = self._asked.get(cookie)
        if task is None:
            task = self._asked[cookie] = asyncio.create_task(look_up())
            task.add_done_callback(lambda done: self._answered(cookie, done))
        return await asyncio.shield(task)

    def _answered(self, cookie: str, task: "asyncio.Task[Row | None]") -> None:
        del self._asked[cookie]
        if not task.cancelled():
            task.exception()  # all who asked may have gone

    @asynccontextmanager
    async def looking(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends.

        Raises:
            Problem: 503, too many are looked up, from this address or together.
        """
        network = network_of(address)
        if (
            self._from.total() >= LOOKUPS_AT_ONCE + LOOKUPS_WAITING
            or self._from[network] >= LOOKUPS_WAITING_PER_ADDRESS
        ):
            raise _too_many_strangers()
        self._from[network] += 1
        try:
            await self._turn()
            try:
                yield
            finally:
                self._looking.release()
        finally:
            self._from[network] -= 1
            if not self._from[network]:
                del self._from[network]

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(LOOKUP_WAIT_S):
                await self._looking.acquire()
        except TimeoutError:
            raise _too_many_strangers() from None


def _too_many_strangers() -> Problem:
    return Problem(
        503,
        "too_many_strangers",
        "Too many sessions that nobody knows are being looked up; try again in a moment.",
        headers={"Retry-After": "1"},
    )
