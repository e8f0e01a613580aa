"""`northwatch log`: how far the logs are read, and damage in them, which is passed on a person's word."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeAlias

import typer

from northwatch.screen import Screen, echo
from northwatch.shell import ConfigOption, who
from northwatch.times import shown

if TYPE_CHECKING:
    from uuid import UUID

    from northwatch.config import Settings
    from store.damage import Damage
    from store.log import LogReader

logs = typer.Typer(help="The logs 日志: what terminals sent, and damage in it.")

ByOption: TypeAlias = Annotated[str | None, typer.Option("--by", help="Who says so [default: your account]")]
DAMAGED, OTHER = 1, 2
LOOK_S = 3
"""So long the database is waited for, which is asked for cursors only."""


@logs.callback(invoke_without_command=True)
def show(context: typer.Context, config: ConfigOption = None) -> None:
    """Say how far each log was read, and whether what is not read yet is damaged. Ends with 1 where it is."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from northwatch.wiring import settings_for
    from store.damage import unseen
    from store.log import LogError

    settings = settings_for(config)
    found = _logs(settings)
    cursors = _cursors(settings)
    table = Table("log", "from", "to", "worker at", "released", "archived")
    damage: list[Damage] = []
    for log in found:
        try:
            span = str(log.start), str(log.head())
        except LogError:  # it is told below
            span = "?", "?"
        cursor = "?" if cursors is None else str(cursors.get(log.log_id, "nowhere"))
        marks = (str(log.consumed()), str(log.archived()))
        table.add_row(str(log.name.slot), *span, cursor, *marks)
        echo(f"log {log.name.slot} is {log.log_id}")  # outside of the table, which a narrow screen cuts
    Screen().print(table)
    try:
        damage = [each for log in found if (each := _damage(log, settings)) is not None]
        passed = list(unseen(_directory(settings)))
    except LogError as error:
        _fail(str(error), DAMAGED)
    for each in damage:
        echo(_told(each))
        echo("  northwatch log skip: keeps these bytes apart; worker and archive go on behind them")
    for slot, skip in passed:
        echo(
            f"log {slot}: {skip.end - skip.begin} bytes at position {skip.begin} were skipped at"
            f" {shown(skip.at)} by {skip.by}, and are kept in damaged/{skip.kept}"
        )
        echo("  northwatch log seen: takes note of it")
    if not damage:
        echo("nothing that is not read yet is damaged")
    raise typer.Exit(DAMAGED if damage else 0)


@logs.command()
def skip(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Keep damaged bytes apart, and let worker and archive go on behind them. Each stretch is asked for."""
    from northwatch.wiring import settings_for
    from store.damage import keep, pass_by
    from store.log import LogError

    settings = settings_for(config)
    name, count = by or who(), 0
    try:
        for log in _logs(settings):
            while (damage := _damage(log, settings)) is not None:
                echo(_told(damage))
                if not (yes or typer.confirm("Go on behind it?")):
                    raise typer.Exit(DAMAGED)
                kept = keep(_directory(settings), damage)
                _audit(settings, name, "log.skipped", damage, kept)
                pass_by(log, damage, kept, by=name, at=datetime.now(UTC))
                echo(f"  kept in {kept}; the worker goes on at {damage.end}")
                count += 1
    except (LogError, OSError) as error:
        _fail(str(error), OTHER)
    if not count:
        echo("nothing that is not read yet is damaged")


@logs.command()
def seen(by: ByOption = None, config: ConfigOption = None) -> None:
    """Take note of what was skipped: health says no more of it."""
    from northwatch.wiring import in_database, settings_for
    from store.audit import audit
    from store.damage import see, unseen

    settings = settings_for(config)
    name = by or who()
    if not any(unseen(_directory(settings))):
        echo("there is nothing to take note of")
        return

    async def note(connection: Any) -> None:
        await audit(connection, name, "log.seen", "")

    asyncio.run(in_database(settings, note))
    count = see(_directory(settings), name)
    echo(f"{count} skipped {'stretch is' if count == 1 else 'stretches are'} seen")


def _directory(settings: "Settings") -> Path:
    from northwatch.wiring import logs_directory

    return logs_directory(settings)


def _logs(settings: "Settings") -> "list[LogReader]":
    from store.log import LogError, LogReader
    from store.merge import logs_in

    try:
        found = [LogReader(path, slot=slot) for slot, path in logs_in(_directory(settings)).items()]
    except LogError as error:
        _fail(str(error), OTHER)
    if not found:
        _fail(f"there is no log in {_directory(settings)}; is data_dir right? A gateway makes one", OTHER)
    return found


def _damage(log: "LogReader", settings: "Settings") -> "Damage | None":
    from store.damage import find

    return find(log, is_archived=settings.keeper.archive)


def _told(damage: "Damage") -> str:
    size = damage.end - damage.begin
    missing = f", {size - len(damage.data)} of them missing" if len(damage.data) < size else ""
    return f"log {damage.log.slot}: {damage.what}; {size} bytes{missing}, whole again at {damage.end}"


def _cursors(settings: "Settings") -> "dict[UUID, int] | None":
    """Say where the worker is; None where the database cannot be asked."""
    import psycopg

    from northwatch.wiring import dsn
    from store import survey

    try:
        with psycopg.connect(dsn(settings), connect_timeout=LOOK_S) as connection:
            return {log_id: each.position for log_id, each in survey.cursors(connection).items()}
    except psycopg.Error:
        return None


def _audit(settings: "Settings", by: str, action: str, damage: "Damage", kept: Path) -> None:
    from northwatch.wiring import in_database
    from store.audit import audit

    async def note(connection: Any) -> None:
        stretch = {"begin": damage.begin, "end": damage.end, "kept": kept.name}
        await audit(connection, by, action, f"{damage.log.slot} {damage.log.log_id}", **stretch)

    asyncio.run(in_database(settings, note))


def _fail(message: str, code: int) -> NoReturn:
    echo(f"northwatch: {message}", is_error=True)
    raise typer.Exit(code)
