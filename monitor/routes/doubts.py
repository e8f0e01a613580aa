"""What is doubtful about location reports, by name: docs/quality.md has the rules."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from monitor.models import Doubt, DoubtfulReport, Items, Page
from monitor.problems import Problem
from monitor.routes import DEFAULT_LIMIT, Cursor, From, IdPath, Limit, To, problems
from monitor.routes.fleet import period
from monitor.signing import At, By
from store import tracks
from store.quality import MEANINGS, UNQUALIFIED, Quality, names_of

router = APIRouter(tags=["record"])

EVERY_DOUBT = ~Quality(0)
Reasons = Annotated[
    list[str] | None,
    Query(alias="reason", max_length=len(Quality), description="Only these; names as in `/quality`."),
]


@router.get("/quality", response_model=Items[Doubt], responses=problems())
async def kinds(by: By) -> Any:
    """The bits of `quality` and what they mean."""
    return {
        "items": [
            {
                "bit": int(each),
                "name": names_of(each)[0],
                "zh": zh,
                "en": en,
                "is_unqualified": bool(each & UNQUALIFIED),
            }
            for each, (zh, en) in MEANINGS.items()
        ]
    }


@router.get(
    "/terminals/{terminal_id}/doubtful", response_model=Page[DoubtfulReport], responses=problems(400, 404)
)
async def doubtful(
    terminal_id: IdPath,
    center: At,
    by: By,
    reasons: Reasons = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    since: From = None,
    until: To = None,
) -> Any:
    """Reports that have a doubt, newest first; the last 24 hours unless told otherwise."""
    doubts = Quality(0)
    for name in reasons or ():
        try:
            doubts |= Quality[name.upper()]
        except KeyError:
            raise Problem(400, "bad_reason", f"There is no reason {name!r}; `/quality` has them.") from None
    during = period(since, until)
    async with center.database() as connection:
        return await tracks.doubtful_page(
            connection, terminal_id, during, doubts=doubts or EVERY_DOUBT, limit=limit, cursor=cursor
        )
