"""Positions, trips, alarms and others of a period as a file."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import StreamingResponse

from monitor.downloads import Exported
from monitor.exports import FORMATS
from monitor.models import Result
from monitor.problems import Problem
from monitor.routes import From, IdFilter, To, WordFilter, problems
from monitor.routes.tickets import State
from monitor.signing import At, By, until_signed_out
from store.audit import audit
from store.exports import SUBJECTS, Chosen, export

router = APIRouter(prefix="/exports", tags=["exports"])

RECHECK_S: Final = 5.0
"""An export of somebody who signed out ends within this time."""

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


@router.get(
    "/{name}",
    response_class=StreamingResponse,
    responses=_FILE | problems(400, 429),
)
async def exported(
    name: Name,
    request: Request,
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

    The header `X-About-Rows` tells about how many rows to expect. It is written down who exported what. A
    person has one export at a time, for as long as half an hour; it ends when its person signs out, or takes
    it too slowly.
    """
    if since is None or until is None or since >= until:
        raise Problem(400, "bad_period", "An export needs `from` and, later than it, `to`.")
    try:
        chosen = Chosen(SUBJECTS[name], since, until, terminal_id, vehicle_id, filters)
    except ValueError as error:
        raise Problem(400, "bad_filter", f"{error}.") from None
    download = center.downloads.begin(by["id"], center.options.data_dir)
    try:
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
        await download.open(export(center.options.database_url, chosen), FORMATS[kind].write)
    except BaseException:
        download.end()
        raise
    period = f"{since:%Y%m%d}-{until:%Y%m%d}"
    headers = {
        "Content-Disposition": f'attachment; filename="northwatch-{name}-{period}.{kind}"',
        "X-About-Rows": str(download.about),
    }
    if kind == "parquet":
        headers["Content-Encoding"] = "identity"  # compressed already
    return Exported(
        download,
        lambda: until_signed_out(request, by, RECHECK_S),
        media_type=FORMATS[kind].media_type,
        headers=headers,
    )
