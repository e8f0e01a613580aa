"""Evidence: media with their contents, and frames as terminals sent them."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from monitor.models import MAX_BIGINT, Medium, Page, RawFrame
from monitor.problems import Problem
from monitor.routes import (
    DEFAULT_LIMIT,
    BigIdPath,
    Cursor,
    From,
    IdFilter,
    IdPath,
    Limit,
    To,
    problems,
)
from monitor.routes.fleet import period
from monitor.signing import At, By, ByAdmin
from protocol.columns import identities
from protocol.frame import escape
from store import fleet, media
from store.archive import Archive, ArchivedFrame
from store.blobs import Blobs
from store.chunk import ChunkDamaged
from store.log import LogError
from store.select import decode_cursor, encode_cursor
from store.times import from_us

router = APIRouter(tags=["archive"])

CONTENT_TYPES: Final = {
    0: "image/jpeg",
    1: "image/tiff",
    2: "audio/mpeg",
    3: "audio/wav",
    4: "video/x-ms-wmv",
}
"""By 多媒体格式编码; what terminals send beside is of no known type."""
UNKNOWN_TYPE: Final = "application/octet-stream"
FOREVER_S: Final = 365 * 86_400
"""A content never changes: its tag is its hash."""

MOST_AT_ONCE: Final = 100_000
"""Frames of one terminal that one turn of the gateway's loop can receive: far more than a link brings."""

AlarmFilter = Annotated[int | None, Query(ge=1, le=MAX_BIGINT, description="What shows this alarm.")]
Kind = Annotated[int | None, Query(ge=0, le=255, description="0 pictures, 1 sound, 2 video.")]


@router.get("/media", response_model=Page[Medium], responses=problems(400))
async def list_media(
    center: At,
    by: By,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    terminal_id: IdFilter = None,
    vehicle_id: IdFilter = None,
    alarm_id: AlarmFilter = None,
    kind: Kind = None,
    since: From = None,
    until: To = None,
) -> Any:
    """Pictures, sounds and videos (0x0801), received last first."""
    async with center.database() as connection:
        return await media.page(
            connection,
            limit=limit,
            cursor=cursor,
            terminal_id=terminal_id,
            vehicle_id=vehicle_id,
            alarm_id=alarm_id,
            kind=kind,
            since=since,
            until=until,
        )


@router.get(
    "/media/{medium_id}",
    response_class=FileResponse,
    responses=problems(404)
    | {
        200: {"description": "The content.", "content": {"*/*": {}}},
        206: {"description": "The part that `Range` asks for.", "content": {"*/*": {}}},
        304: {"description": "The content is the one of `If-None-Match`."},
    },
)
async def content(medium_id: BigIdPath, center: At, by: By, request: Request) -> Response:
    """The content of one of them, as the terminal sent it."""
    async with center.database() as connection:
        found = await media.medium(connection, medium_id)
    tag = f'"{found["sha256"]}"'
    headers = {
        "ETag": tag,
        "Cache-Control": f"private, max-age={FOREVER_S}, immutable",
        # What a terminal sends is shown and never run; parts of it would be wrong if they were compressed.
        "Content-Security-Policy": "sandbox",
        "Content-Encoding": "identity",
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    path = Blobs(_data_dir(center) / "media").path(bytes.fromhex(found["sha256"]))
    if not path.exists():
        raise Problem(
            404, "content_missing", f"The content of medium {medium_id} is not on the disk any more."
        )
    return FileResponse(path, headers=headers, media_type=CONTENT_TYPES.get(found["format"], UNKNOWN_TYPE))


@router.get(
    "/terminals/{terminal_id}/frames", response_model=Page[RawFrame], responses=problems(400, 403, 404)
)
async def frames(
    terminal_id: IdPath,
    center: At,
    by: ByAdmin,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    since: From = None,
    until: To = None,
) -> Any:
    """What a terminal sent, in order of receipt, as on the wire; the last 24 hours unless told otherwise.

    `POST /explain` says what the bytes mean. For admins, because authentication codes are among them.
    """
    since, until = period(since, until)
    async with center.database() as connection:
        identity = (await fleet.terminal(connection, terminal_id))["identity"]
    begin, skipped = _after(cursor, since)
    archive = Archive(_data_dir(center) / "archive", _data_dir(center) / "log", identities)
    try:
        found = await run_in_threadpool(_first, archive, identity, (begin, until), skipped + limit + 1)
    except (ChunkDamaged, LogError, OSError) as error:
        raise Problem(503, "archive_unavailable", f"The archive cannot be read: {error}") from None
    return _page(found, skipped, limit)


def _first(
    archive: Archive, identity: str, between: tuple[datetime, datetime], count: int
) -> list[ArchivedFrame]:
    given = archive.frames(identity, *between)
    return [each for each, _ in zip(given, range(count), strict=False)]


def _page(found: list[ArchivedFrame], skipped: int, limit: int) -> dict[str, Any]:
    """Cut a page. The next one begins at the time of its first frame, behind what was given of that time."""
    shown, rest = found[skipped : skipped + limit], found[skipped + limit :]
    after = None
    if rest:
        at = rest[0].received_us
        after = encode_cursor([from_us(at), sum(each.received_us == at for each in found[:-1])])
    return {"items": [_told(each) for each in shown], "next": after}


def _after(cursor: str | None, since: datetime) -> tuple[datetime, int]:
    """Say from when on frames are read, and how many of them were given before."""
    if cursor is None:
        return since, 0
    at, skipped = decode_cursor(cursor, (datetime, int))
    return max(at, since), min(skipped, MOST_AT_ONCE)


def _told(each: ArchivedFrame) -> dict[str, Any]:
    wire = each.wire(escape)
    return {
        "received_at": from_us(each.received_us),
        "session": str(each.session),
        "msg_id": None if each.is_raw else int.from_bytes(each.data[:2]),
        "hex": wire.hex(),
        "chunk": each.chunk or None,
    }


def _data_dir(center: Any) -> Path:
    directory: Path | None = center.options.data_dir
    if directory is None:
        raise Problem(404, "no_archive", "This monitor does not know where the archive is.")
    return directory
