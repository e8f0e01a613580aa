"""`northwatch user`: who may sign in."""

import secrets
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from northwatch.screen import Screen, echo
from northwatch.shell import ConfigOption, in_database, who
from northwatch.times import shown

users = typer.Typer(help="Who may sign in.", no_args_is_help=True)

PasswordOption: TypeAlias = Annotated[
    str | None, typer.Option(help="The password; without it a random one is made and shown once")
]
TO_BE_CHANGED = "\n(to be changed when it is first used: nothing else works before)"


@users.command()
def add(
    name: str,
    role: Annotated[str, typer.Option(help="admin or operator")] = "operator",
    display_name: Annotated[str, typer.Option(help="As colleagues know this person")] = "",
    password: PasswordOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a user."""
    from store import people

    chosen = password or secrets.token_urlsafe(12)
    in_database(
        config,
        lambda connection: people.add_user(
            connection, name, role=role, password=chosen, display_name=display_name, by=who()
        ),
    )
    echo(f"{name} added as {role}" + ("" if password else f"; password: {chosen}") + TO_BE_CHANGED)


@users.command("list")
def list_users(config: ConfigOption = None) -> None:
    """List the users."""
    from rich.table import Table

    from store import people

    table = Table("name", "display name", "role", "state", "since")
    for user in in_database(config, people.list_users):
        state = "disabled" if user["disabled"] else "active"
        table.add_row(user["name"], user["display_name"], user["role"], state, shown(user["created_at"]))
    Screen().print(table)


@users.command()
def password(name: str, password: PasswordOption = None, config: ConfigOption = None) -> None:
    """Give a user a new password; all its sign-ins end."""
    from store import people

    chosen = password or secrets.token_urlsafe(12)

    async def change(connection: Any) -> None:
        user = await people.user_named(connection, name)
        await people.set_password(connection, user["id"], chosen, by=who())

    in_database(config, change)
    echo(f"{name} has a new password" + ("" if password else f": {chosen}") + TO_BE_CHANGED)


@users.command()
def reset_second_factor(name: str, config: ConfigOption = None) -> None:
    """Let a user who has lost it sign in without a second factor; all its sign-ins end."""
    from store import people, second_factor

    async def change(connection: Any) -> None:
        user = await people.user_named(connection, name)
        await second_factor.remove(connection, user["id"], by=who())

    in_database(config, change)
    echo(f"{name} has no second factor")


@users.command()
def disable(name: str, config: ConfigOption = None) -> None:
    """Let a user sign in no more."""
    _set_disabled(name, True, config)
    echo(f"{name} is disabled")


@users.command()
def enable(name: str, config: ConfigOption = None) -> None:
    """Let a disabled user sign in again."""
    _set_disabled(name, False, config)
    echo(f"{name} is active")


def _set_disabled(name: str, disabled: bool, config: Path | None) -> None:
    from store import people

    async def change(connection: Any) -> None:
        user = await people.user_named(connection, name)
        await people.edit_user(connection, user["id"], {"disabled": disabled}, by=who())

    in_database(config, change)
