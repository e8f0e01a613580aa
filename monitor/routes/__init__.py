"""What can be asked, one file per desk: `people`, `fleet`, `areas`, `alarms`, `tickets`, `records`,
`exports`, `live`, `explain`, `settings`, `lobby`."""

from typing import Annotated, Any, TypeAlias

from fastapi import Path, Query

from monitor.models import MAX_BIGINT, MAX_INT, Moment
from monitor.problems import MEDIA_TYPE, ProblemDocument

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

Limit: TypeAlias = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many at most.")]
Cursor: TypeAlias = Annotated[
    str | None, Query(max_length=1000, description="`next` of the page before; missing: the first page.")
]
Search: TypeAlias = Annotated[
    str | None, Query(max_length=100, pattern=r"^[^\x00]*$", description="Part of what is looked for.")
]
From: TypeAlias = Annotated[Moment | None, Query(alias="from", description="Not before this time.")]
To: TypeAlias = Annotated[Moment | None, Query(alias="to", description="Before this time.")]
IdPath: TypeAlias = Annotated[int, Path(ge=1, le=MAX_INT)]
BigIdPath: TypeAlias = Annotated[int, Path(ge=1, le=MAX_BIGINT)]
IdFilter: TypeAlias = Annotated[int | None, Query(ge=1, le=MAX_INT)]
WordPath: TypeAlias = Annotated[str, Path(max_length=100, pattern=r"^[^\x00]*$")]
WordFilter: TypeAlias = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]

_MEANINGS = {
    400: "The cursor or the period makes no sense, or the body is no UTF-8.",
    401: "Nobody is signed in.",
    403: "Only an admin may do this, or the request came from another site's page.",
    404: "There is no such thing.",
    409: "It cannot be done as things are now.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "A value is not allowed.",
    429: "Too many attempts.",
    503: "The database does not answer.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe for OpenAPI with which problems a route may answer; 401, 422 and 503 always belong to them."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}},
        }
        for status in sorted({401, 422, 503, *statuses})
    }


CHANGES = problems(400, 403, 413, 415)
"""The problems of every route that changes something."""
