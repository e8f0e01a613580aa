"""Positions, trips, alarms and others of a period as a file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from monitor.exports import FORMATS
from monitor.problems import Problem
from monitor.routes import From, IdFilter, To, problems
from monitor.signing import At, By
from store.exports import SUBJECTS, Chosen, Export, export
from store.people import audit

router = APIRouter(prefix="/exports", tags=["exports"])

AT_ONCE: Final = 2
"""Exports that run together in a process: each keeps a core of the database busy."""

Name = Annotated[
    Literal["positions", "trips", "stops", "days", "alarms", "tickets"], Path(description="What.")
]
Kind = Annotated[Literal["csv", "parquet", "geojson"], Query(alias="format", description="As which file.")]


_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {each.media_type.partition(";")[0]: {} for each in FORMATS.values()}}
}


@router.get(
    "/{name}",
    response_class=StreamingResponse,
    responses=_FILE | problems(400, 429),
)
async def exported(
    name: Name,
    center: At,
    by: By,
    kind: Kind = "csv",
    since: From = None,
    until: To = None,
    terminal_id: IdFilter = None,
    vehicle_id: IdFilter = None,
) -> Any:
    """All rows of the period, of everything or of one terminal or vehicle, in order of time.

    The header `X-About-Rows` tells about how many rows to expect. It is written down who exported what.
    """
    if since is None or until is None or since >= until:
        raise Problem(400, "bad_period", "An export needs `from` and, later than it, `to`.")
    if center.exports >= AT_ONCE:
        raise Problem(429, "busy", f"{AT_ONCE} exports are running. Wait until one has ended.")
    chosen = Chosen(SUBJECTS[name], since, until, terminal_id, vehicle_id)
    async with center.database() as connection:
        await audit(
            connection,
            by["name"],
            "export",
            name,
            since=since.isoformat(),
            until=until.isoformat(),
            format=kind,
            terminal_id=terminal_id,
            vehicle_id=vehicle_id,
        )
    stack = ExitStack()
    center.exports += 1
    stack.callback(_ended, center)
    try:
        running = await asyncio.to_thread(stack.enter_context, export(center.options.database_url, chosen))
    except BaseException:
        stack.close()
        raise
    period = f"{since:%Y%m%d}-{until:%Y%m%d}"
    headers = {
        "Content-Disposition": f'attachment; filename="northwatch-{name}-{period}.{kind}"',
        "X-About-Rows": str(running.about),
    }
    if kind == "parquet":
        headers["Content-Encoding"] = "identity"  # compressed already
    return StreamingResponse(
        _pieces(stack, running, kind), media_type=FORMATS[kind].media_type, headers=headers
    )


async def _pieces(stack: ExitStack, running: Export, kind: str) -> AsyncIterator[bytes]:
    """Give the file, and close the connection at its end or when nobody wants it any more."""
    pieces = FORMATS[kind].write(running)
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
    finally:
        stack.close()


def _ended(center: Any) -> None:
    center.exports -= 1
