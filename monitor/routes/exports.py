"""Positions, trips, alarms and others of a period as a file."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import StreamingResponse

from monitor.exports import FORMATS
from monitor.models import Result
from monitor.problems import Problem
from monitor.routes import From, IdFilter, To, WordFilter, problems
from monitor.routes.tickets import State
from monitor.signing import At, By
from store.exports import SUBJECTS, Chosen, export
from store.people import audit

router = APIRouter(prefix="/exports", tags=["exports"])

Done = TypeVar("Done")

AT_ONCE: Final = 2
"""Exports that run together in a process: each keeps a core of the database busy."""

Name = Annotated[
    Literal["positions", "trips", "stops", "days", "alarms", "tickets"], Path(description="What.")
]


def _filters(
    condition: WordFilter = None,
    severity: Annotated[int | None, Query(ge=1, le=4)] = None,
    desk: Literal["free", "taken", "handled"] | None = None,
    result: Result | None = None,
    state: State | None = None,
    fault: WordFilter = None,
) -> dict[str, Any]:
    given = locals()
    return {name: value for name, value in given.items() if value is not None}


Filters = Annotated[dict[str, Any], Depends(_filters)]
Kind = Annotated[Literal["csv", "parquet", "geojson"], Query(alias="format", description="As which file.")]


_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {each.media_type.partition(";")[0]: {} for each in FORMATS.values()}}
}


class Running:
    """An export that runs, in a thread of its own: memory that one thread gave back is not there for the next
    one to take, and several would hold several times as much.
    """

    def __init__(self, center: Any, name: str) -> None:
        self.stack = ExitStack()
        self._thread = ThreadPoolExecutor(1, f"export-{name}")
        self._center = center
        center.exports += 1

    def do(self, what: Callable[..., Done], *given: Any) -> "asyncio.Future[Done]":
        """Do something in the thread."""
        return asyncio.get_running_loop().run_in_executor(self._thread, what, *given)

    async def pieces(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Give the file, and end with it, or when nobody wants it any more."""
        try:
            while (piece := await self.do(next, pieces, None)) is not None:
                yield piece
        finally:
            self.end()

    def end(self) -> None:
        """Close the connection, once the thread is done with it; nobody waits for that."""
        self._center.exports -= 1
        self._thread.submit(self.stack.close)
        self._thread.shutdown(wait=False)


@router.get(
    "/{name}",
    response_class=StreamingResponse,
    responses=_FILE | problems(400, 429),
)
async def exported(
    name: Name,
    center: At,
    by: By,
    filters: Filters,
    kind: Kind = "csv",
    since: From = None,
    until: To = None,
    terminal_id: IdFilter = None,
    vehicle_id: IdFilter = None,
) -> Any:
    """All rows of the period, of everything or of one terminal or vehicle, in order of time. Alarms can
    be chosen by condition, severity, desk and result, tickets by state and fault.

    The header `X-About-Rows` tells about how many rows to expect. It is written down who exported what.
    """
    if since is None or until is None or since >= until:
        raise Problem(400, "bad_period", "An export needs `from` and, later than it, `to`.")
    if center.exports >= AT_ONCE:
        raise Problem(429, "busy", f"{AT_ONCE} exports are running. Wait until one has ended.")
    try:
        chosen = Chosen(SUBJECTS[name], since, until, terminal_id, vehicle_id, filters)
    except ValueError as error:
        raise Problem(400, "bad_filter", f"{error}.") from None
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
            **filters,
        )
    running = Running(center, name)
    opening = export(center.options.database_url, chosen)
    try:
        opened = await running.do(running.stack.enter_context, opening)
    except BaseException:
        running.end()
        raise
    period = f"{since:%Y%m%d}-{until:%Y%m%d}"
    headers = {
        "Content-Disposition": f'attachment; filename="northwatch-{name}-{period}.{kind}"',
        "X-About-Rows": str(opened.about),
    }
    if kind == "parquet":
        headers["Content-Encoding"] = "identity"  # compressed already
    return StreamingResponse(
        running.pieces(FORMATS[kind].write(opened)),
        media_type=FORMATS[kind].media_type,
        headers=headers,
    )
