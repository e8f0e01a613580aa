"""`northwatch lobby`: terminals that came by themselves, and when many of them may come."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from northwatch.screen import echo
from northwatch.shell import ConfigOption, in_database, who
from northwatch.times import shown

lobby = typer.Typer(help="Terminals that came by themselves and wait to be accepted.", no_args_is_help=True)


_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@lobby.command("show")
def show(config: ConfigOption = None) -> None:
    """Say how many wait, and until when many may come."""
    from store import lobby as kept

    _tell(in_database(config, kept.lobby))


@lobby.command("open")
def open_enrolment(
    lasting: Annotated[str, typer.Option("--for", metavar="TIME", help="As 90m, 2h or 1d")],
    room: Annotated[int, typer.Option(help="So many more may come")] = 20_000,
    config: ConfigOption = None,
) -> None:
    """Let many new terminals come: a fleet behind one address of a carrier, or one that is forwarded."""
    from store import lobby as kept

    by = who()
    _tell(in_database(config, lambda db: kept.open_enrolment(db, _lasting(lasting), room, by=by)))


@lobby.command("close")
def close_enrolment(config: ConfigOption = None) -> None:
    """Let new terminals come as the settings say."""
    from store import lobby as kept

    by = who()
    _tell(in_database(config, lambda db: kept.close_enrolment(db, by=by)))


def _lasting(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,4})([mhd])", text.strip())
    if found is None:
        echo(f"northwatch: --for {text}: allowed are times as 90m, 2h or 1d", is_error=True)
        raise typer.Exit(2)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _tell(row: dict[str, Any]) -> None:
    waiting, enrolment = row["waiting"], row["enrolment"]
    echo(f"{waiting} {'terminal waits' if waiting == 1 else 'terminals wait'} to be accepted")
    if enrolment is not None:
        until = shown(datetime.fromisoformat(enrolment["until"]))
        echo(f"until {until} so many more may come: {enrolment['room']} (opened by {enrolment['opened_by']})")
