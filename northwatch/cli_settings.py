"""`northwatch settings`: settings that facts depend on, changed without a restart."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from northwatch.screen import Screen, echo
from northwatch.shell import ConfigOption, in_database, who
from northwatch.times import shown

settings = typer.Typer(
    help="Settings of silence, tickets and media: what people say wins over the configuration.",
    no_args_is_help=True,
)

NameArgument: TypeAlias = Annotated[str, typer.Argument(help="As in the configuration: silence.moving_s")]


@settings.command("list")
def list_settings(config: ConfigOption = None) -> None:
    """Say what is in force, what the configuration says, and who has said otherwise."""
    from rich.table import Table

    from store import settings as kept

    table = Table("setting", "in force", "configured", "set by", "")
    for row in in_database(config, kept.settings):
        set_by = f"{row['set_by']}, {shown(row['set_at'])}" if row["set_at"] else ""
        waits = "" if row["is_taken"] else "not yet taken"
        table.add_row(row["name"], _number(row["value"]), _number(row["configured"]), set_by, waits)
    Screen().print(table)


@settings.command("set")
def set_one(
    name: NameArgument,
    value: Annotated[float, typer.Argument(help="In the unit of its name")],
    config: ConfigOption = None,
) -> None:
    """Let it be so from now on, until it is reset."""
    _change(config, name, value)


@settings.command()
def reset(name: NameArgument, config: ConfigOption = None) -> None:
    """Let it be as the configuration says."""
    _change(config, name, None)


def _change(config: Path | None, name: str, value: float | None) -> None:
    from store import settings as kept

    row = in_database(config, lambda connection: kept.change(connection, name, value, by=who()))
    echo(f"{row['name']} is {_number(row['value'])} from now on")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.12g}"
