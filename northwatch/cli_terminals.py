"""`northwatch terminal`: which terminals may report, and what they are installed in."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from northwatch.screen import Screen, echo
from northwatch.shell import ConfigOption, in_database, who
from northwatch.times import shown

terminals = typer.Typer(
    help="Which terminals may report, and in which vehicles they are.", no_args_is_help=True
)

Identity: TypeAlias = Annotated[str, typer.Argument(help="The terminal's number; leading zeros do not count")]
ColorOption: TypeAlias = Annotated[
    int, typer.Option(help="Plate colour by JT/T 415: 1 blue, 2 yellow, 3 black, 4 white, 9 other")
]
LIST_PAGE = 500


@terminals.command()
def add(
    identity: Identity,
    edition: Annotated[str, typer.Option(help="2011, 2013 or 2019")] = "2013",
    note: str = "",
    config: ConfigOption = None,
) -> None:
    """Enter a terminal; with policy `known` only entered ones may report."""
    from store import fleet

    row = in_database(
        config, lambda db: fleet.add_terminal(db, identity, edition=edition, note=note, by=who())
    )
    echo(f"{row['identity']} added")


@terminals.command("list")
def list_terminals(
    search: Annotated[str | None, typer.Option(help="Part of identity, plate, model or ICCID")] = None,
    view: Annotated[
        str, typer.Option(help="all, known, lobby, blocked, bound, unbound, online, silent, …")
    ] = "all",
    config: ConfigOption = None,
) -> None:
    """List terminals."""
    from rich.table import Column, Table

    from store import fleet

    if view not in fleet.TERMINAL_VIEWS:
        echo(f"northwatch: --view {view}: allowed are {', '.join(fleet.TERMINAL_VIEWS)}", is_error=True)
        raise typer.Exit(2)

    async def read(connection: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor = None
        while True:
            page, _ = await fleet.terminals_page(
                connection, limit=LIST_PAGE, cursor=cursor, search=search, view=view
            )
            rows += page.items
            if (cursor := page.next) is None:
                return rows

    table = Table(
        Column("identity", no_wrap=True), "edition", "vehicle", "link", "mode", "last received", "state"
    )
    for row in in_database(config, read):
        received = row["last_received_at"]
        table.add_row(
            row["identity"],
            row["edition"],
            row["vehicle"]["plate"] if row["vehicle"] else "",
            row["link"],
            row["mode"],
            shown(received) if received else "never",
            "blocked" if row["blocked"] else "known" if row["known"] else "lobby",
        )
    Screen().print(table)


@terminals.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with plate, plate_color, identity, owner, contact, note")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done")] = False,
    config: ConfigOption = None,
) -> None:
    """Enter vehicles and terminals from a CSV file, all of it or nothing."""
    from store import roster
    from store.refusals import RosterInvalid

    async def enter(connection: Any) -> Any:
        return await roster.enter_roster(connection, entries, by=who(), dry_run=dry_run)

    try:
        entries = roster.read_roster(file.read_bytes())
        done = in_database(config, enter)
    except OSError as error:
        echo(f"northwatch: {file}: cannot be read: {error.strerror}", is_error=True)
        raise typer.Exit(2) from None
    except RosterInvalid as invalid:
        echo(f"northwatch: {file}: {invalid}", is_error=True)
        for fault in invalid.faults:
            echo(f"  line {fault.line}: {fault.column} {fault.problem}".replace("  ", " "), is_error=True)
        raise typer.Exit(1) from None
    echo(
        f"{_counted(done.lines, 'line')}: {_counted(done.vehicles_added, 'vehicle')} and"
        f" {_counted(done.terminals_added, 'terminal')} added,"
        f" {done.vehicles_changed} and {done.terminals_changed} changed, {done.bound} bound"
        + (" (nothing was kept)" if dry_run else "")
    )


@terminals.command()
def block(identity: Identity, note: str | None = None, config: ConfigOption = None) -> None:
    """Let a terminal in no more; its link is closed within seconds."""
    _change(config, identity, lambda fleet, db, row: fleet.block_terminal(db, row["id"], note=note, by=who()))
    echo(f"{identity} is blocked")


@terminals.command()
def unblock(identity: Identity, config: ConfigOption = None) -> None:
    """Let a blocked terminal in again."""
    _change(config, identity, lambda fleet, db, row: fleet.unblock_terminal(db, row["id"], by=who()))
    echo(f"{identity} may report")


@terminals.command()
def claim(identity: Identity, config: ConfigOption = None) -> None:
    """Make a terminal that came by itself a known one."""
    _change(config, identity, lambda fleet, db, row: fleet.accept_terminal(db, row["id"], by=who()))
    echo(f"{identity} is known")


@terminals.command("new-code")
def new_code(identity: Identity, config: ConfigOption = None) -> None:
    """Make a terminal's authentication code worthless; it gets another when it registers again."""
    _change(config, identity, lambda fleet, db, row: fleet.renew_code(db, row["id"], by=who()))
    echo(f"the code of {identity} is worthless; its link is closed within seconds")


@terminals.command("without-code")
def without_code(
    identity: Identity,
    allow: Annotated[bool, typer.Option("--allow/--forbid", help="Whether it counts")] = True,
    config: ConfigOption = None,
) -> None:
    """Let what a terminal says count without its authentication code, for devices that cannot authenticate.

    Anybody who knows its number can speak for it then.
    """
    _change(
        config,
        identity,
        lambda fleet, db, row: fleet.let_speak_without_code(db, row["id"], allow, by=who()),
    )
    echo(f"{identity} counts {'without its code' if allow else 'with its code only'}")


@terminals.command()
def delete(identity: Identity, config: ConfigOption = None) -> None:
    """Take a terminal out of every list; what it said stays, and heard again it is in the lobby."""
    _change(config, identity, lambda fleet, db, row: fleet.forget_terminal(db, row["id"], by=who()))
    echo(f"{identity} is forgotten")


@terminals.command()
def bind(identity: Identity, plate: str, color: ColorOption = 2, config: ConfigOption = None) -> None:
    """Say that a terminal is installed in a vehicle; the vehicle is entered if it is new."""

    async def change(fleet: Any, connection: Any, row: dict[str, Any]) -> None:
        from store.refusals import NotFound

        try:
            vehicle = await fleet.vehicle_by_plate(connection, plate, color)
        except NotFound:
            vehicle = await fleet.add_vehicle(connection, {"plate": plate, "plate_color": color}, by=who())
        await fleet.bind(connection, row["id"], vehicle["id"], by=who())

    _change(config, identity, change)
    echo(f"{identity} is installed in {plate}")


@terminals.command()
def unbind(identity: Identity, config: ConfigOption = None) -> None:
    """Say that a terminal was taken out of its vehicle."""
    _change(config, identity, lambda fleet, db, row: fleet.unbind(db, row["id"], by=who()))
    echo(f"{identity} is in no vehicle")


def _change(
    config: Path | None, identity: str, work: Callable[[Any, Any, dict[str, Any]], Awaitable[Any]]
) -> None:
    from store import fleet

    async def change(connection: Any) -> None:
        await work(fleet, connection, await fleet.terminal_by_identity(connection, identity))

    in_database(config, change)


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
