"""Times of the command line, one rule for all commands: Beijing's (GMT+8, the standard's, no summer time)
unless they are written with another offset, and always shown with it.
"""

from datetime import date, datetime, timedelta, timezone
from typing import Final

import typer

BEIJING: Final = timezone(timedelta(hours=8))
TIME_HELP: Final = "Beijing time, or with an offset: 2026-03-01, 2026-03-01T08:15, 2026-03-01T00:15Z"


def moment(text: str) -> datetime:
    """Read a time; a day alone is its first moment.

    Raises:
        typer.BadParameter
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is no time; write it as 2026-03-01T08:15:30, or with an offset as …+00:00"
        raise typer.BadParameter(message) from None
    return at if at.tzinfo else at.replace(tzinfo=BEIJING)


def day(text: str) -> date:
    """Read a day.

    Raises:
        typer.BadParameter
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day; write it as 2026-03-01") from None


def period(since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Give what lies from one moment to another, which is left out.

    Raises:
        typer.BadParameter
    """
    if since >= until:
        raise typer.BadParameter(f"--from {shown(since)} must lie before --to {shown(until)}")
    return since, until


def shown(at: datetime) -> str:
    """Show a time as `moment` reads it."""
    return at.astimezone(BEIJING).isoformat(" ", timespec="seconds")
