"""The page itself: files of `web/dist`, and `index.html` for every address that the page draws.

Files under `assets/` carry a hash of their content in their name and are kept for good; everything else is
asked for again each time and costs a 304. The page runs on a closed network: the policy below lets it load
nothing from elsewhere, except map tiles where a tile source is configured.
"""

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles

KEPT = "public, max-age=31536000, immutable"
ASKED_AGAIN = "no-cache"

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


STRICT_TRANSPORT = {"Strict-Transport-Security": f"max-age={180 * 86400}"}
"""A browser that came over HTTPS once comes so for half a year, whatever it is told. It holds for the host on
all its ports, so we say it only where our own port has the certificate; a proxy says it for itself."""


def content_security_policy(tiles_url: str | None) -> str:
    """Say what the page may load. MapLibre works in a worker made from a blob."""
    tiles = ""
    if tiles_url:
        parts = urlsplit(tiles_url)
        # Tile servers are often numbered: t{s}.tianditu.gov.cn
        host = parts.netloc if "{" not in parts.netloc else "*." + parts.netloc.split(".", 1)[-1]
        tiles = f" {parts.scheme}://{host}"
    return "; ".join(
        [
            "default-src 'self'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",  # charts and the map set styles on their elements
            f"img-src 'self' data: blob:{tiles}",
            "font-src 'self' data:",
            f"connect-src 'self'{tiles}",
            "worker-src 'self' blob:",
            "child-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )


class Pages:
    """Serves the built page."""

    def __init__(self, web_dir: Path | None) -> None:
        self._files = StaticFiles(directory=web_dir) if web_dir and web_dir.is_dir() else None

    async def response(self, request: Request) -> Response:
        """Give the file for the request's path, else `index.html`.

        Raises:
            HTTPException: 404, where a file is asked for that is not there.
        """
        if self._files is None:
            return PlainTextResponse(
                "The page is not built; `make run` builds it. The API is at /api/v1/.\n", 404
            )
        path = self._files.get_path(request.scope)
        try:
            response = await self._files.get_response(path, request.scope)
        except HTTPException as missing:
            if missing.status_code != 404 or ("." in path.rpartition("/")[2] and path != "."):
                raise
            path = "index.html"
            response = await self._files.get_response(path, request.scope)
        response.headers["Cache-Control"] = KEPT if path.startswith("assets/") else ASKED_AGAIN
        return response
