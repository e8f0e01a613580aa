"""`northwatch hold`: keep what a vehicle's terminals said in a period, whatever retention says."""

from datetime import datetime
from typing import Annotated, Any

import typer

from northwatch.screen import Screen, echo
from northwatch.shell import ConfigOption, in_database, who
from northwatch.times import TIME_HELP, moment, period, shown

holds = typer.Typer(help="Legal holds 封存: what is held survives its retention.", no_args_is_help=True)

LIST_PAGE = 500


@holds.command()
def add(
    plate: Annotated[str, typer.Argument(help="Whose data is held")],
    since: Annotated[datetime, typer.Option("--from", parser=moment, metavar="TIME", help=TIME_HELP)],
    until: Annotated[
        datetime, typer.Option("--to", parser=moment, metavar="TIME", help="The first moment left out")
    ],
    reason: Annotated[str, typer.Option(help="Who asked for it, and why")],
    color: Annotated[int, typer.Option(help="Plate colour by JT/T 415")] = 2,
    config: ConfigOption = None,
) -> None:
    """Hold a period of a vehicle."""
    from store import fleet
    from store import holds as kept

    async def place(connection: Any) -> Any:
        vehicle = await fleet.vehicle_by_plate(connection, plate, color)
        return await kept.place(connection, vehicle["id"], held, reason, by=who())

    held = period(since, until)
    row = in_database(config, place)
    echo(f"hold {row['id']}: {row['vehicle']['plate']}, {_period(row)}")


@holds.command("list")
def list_holds(
    all_of_them: Annotated[bool, typer.Option("--all", help="Released ones too")] = False,
    config: ConfigOption = None,
) -> None:
    """List holds, newest first."""
    from rich.table import Table

    from store import holds as kept

    async def read(connection: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = await kept.holds_page(
                connection, limit=LIST_PAGE, cursor=cursor, in_force=None if all_of_them else True
            )
            rows += page.items
            if (cursor := page.next) is None:
                return rows

    table = Table("hold", "vehicle", "period", "reason", "placed by", "released by")
    for row in in_database(config, read):
        table.add_row(
            str(row["id"]),
            row["vehicle"]["plate"],
            _period(row),
            row["reason"],
            f"{row['placed_by']}, {shown(row['placed_at'])}",
            f"{row['released_by']}, {shown(row['released_at'])}" if row["released_at"] else "",
        )
    Screen().print(table)


@holds.command()
def release(hold: Annotated[int, typer.Argument(help="Its number")], config: ConfigOption = None) -> None:
    """Let retention go its way again."""
    from store import holds as kept

    row = in_database(config, lambda connection: kept.release(connection, hold, by=who()))
    echo(f"hold {row['id']} of {row['vehicle']['plate']} is released")


def _period(row: dict[str, Any]) -> str:
    return f"{shown(row['begins_at'])} to {shown(row['ends_at'])}"
