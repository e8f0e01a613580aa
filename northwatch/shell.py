"""What the commands that work in the database have in common."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

ConfigOption: TypeAlias = Annotated[Path | None, typer.Option("--config", help="TOML file with settings")]


def who() -> str:
    """Name the person at the shell, for the audit."""
    return f"shell:{getpass.getuser()}"


def in_database(config: Path | None, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Do `work` in one transaction of the configured database, as `wiring.in_database` does, and give what it
    gives.
    """
    from northwatch import wiring

    return asyncio.run(wiring.in_database(wiring.settings_for(config), work))
