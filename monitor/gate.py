"""What every request passes before a route sees it, and every answer before it leaves.

In: a request that changes something comes from our own page, says what its body is, and is not too large.
Out: browsers guess no types, send no referrer, and run nothing on the page that is not ours.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.problems import Problem, TooLarge, translate
from monitor.signing import is_same_origin
from store.roster import MAX_BYTES as MAX_ROSTER

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
IMPORT_PATH = "/api/v1/fleet/import"
CROSS_SITE = (
    "Another site's page may not change anything here. Where a proxy serves this page by HTTPS, name it in"
    " monitor.proxy_networks, or set monitor.secure_cookie."
)
MAX_BODY = 64 * 1024
"""The longest thing that a page sends is a note."""


class Gate:
    """ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted_origins: Iterable[str],
        is_https: bool,
        headers: Mapping[str, str],
        count: Callable[[int], None],
    ) -> None:
        """`is_https` is as in `is_same_origin`; `headers` are added to every answer; `count` is told its
        status."""
        self.app = app
        self.count = count
        self.trusted_origins = frozenset(trusted_origins)
        self.is_https = is_https
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.count(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = None if scope["method"] in SAFE_METHODS else self._refusal(scope)
        if refusal is not None:
            await refusal.response()(scope, receive, send_with_headers)
            return
        await self.app(scope, _limited(receive, _limit(scope)), send_with_headers)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if not is_same_origin(scope, self.trusted_origins, is_https=self.is_https):
            return Problem(403, "cross_site", CROSS_SITE)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        wanted = "text/csv" if scope["path"] == IMPORT_PATH else "application/json"
        if has_body and headers.get("content-type", "").partition(";")[0].strip().lower() != wanted:
            return Problem(415, "content_type", f"The body must be {wanted}.")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > _limit(scope):
            return translate(TooLarge(_limit(scope)))
        return None


def _limit(scope: Scope) -> int:
    return MAX_ROSTER if scope["path"] == IMPORT_PATH else MAX_BODY


def _limited(receive: Receive, limit: int) -> Receive:
    """Count a body that does not say its length."""
    received = 0

    async def receive_some() -> Message:
        nonlocal received
        message: dict[str, Any] = dict(await receive())
        received += len(message.get("body", b""))
        if received > limit:
            # Not a Problem: while it reads a body, FastAPI lets only its own kind of exception through.
            raise TooLarge(limit)
        return message

    return receive_some
