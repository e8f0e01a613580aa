"""`northwatch export`: rows of a period into a file, with progress."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import psycopg
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from monitor.exports import FORMATS
from northwatch.config import Settings, without_password
from northwatch.screen import Screen, echo
from northwatch.wiring import dsn
from store.exports import SUBJECTS, Chosen, Export, RowTuple, export, find


def export_file(
    settings: Settings,
    subject: str,
    period: tuple[datetime, datetime],
    output: Path,
    *,
    plate: str | None = None,
    identity: str | None = None,
    filters: Sequence[str] = (),
) -> int:
    """Write the file beside its place and move it there when it is whole; give the exit code."""
    if subject not in SUBJECTS:
        _fail(f"{subject} cannot be exported: allowed are {', '.join(SUBJECTS)}")
    kind = FORMATS.get(output.suffix.removeprefix(".").lower())
    if kind is None:
        _fail(f"--output {output}: the name should end with .{', .'.join(FORMATS)}")
    half = output.with_name(output.name + ".part")
    try:
        terminal_id, vehicle_id = find(dsn(settings), plate=plate, identity=identity)
        chosen = Chosen(SUBJECTS[subject], *period, terminal_id, vehicle_id, _chosen_by(filters))
        with export(dsn(settings), chosen) as running, half.open("wb") as file, _progress() as progress:
            for piece in kind.write(_counted(running, progress)):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        half.replace(output)
    except (LookupError, ValueError) as error:
        _fail(str(error))
    except (psycopg.Error, OSError) as error:
        half.unlink(missing_ok=True)
        _fail(f"nothing was exported: {without_password(str(error)).strip()}")
    return 0


def _chosen_by(filters: Sequence[str]) -> dict[str, str]:
    """Read `NAME=VALUE`.

    Raises:
        ValueError
    """
    pairs = [each.partition("=") for each in filters]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise ValueError(f"--filter {name}{equals}{value}: write it as condition=overspeed")
    return {name: value for name, _, value in pairs}


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Screen(stderr=True),
    )


def _counted(running: Export, progress: Progress) -> Export:
    """Show how many rows have gone by; the total is a guess and follows when it was too low."""
    task = progress.add_task("rows", total=max(running.about, 1))

    def batches() -> Iterator[list[RowTuple]]:
        done = 0
        for batch in running.batches:
            yield batch
            done += len(batch)
            progress.update(task, completed=done, total=max(done, running.about))
        progress.update(task, completed=done, total=done)

    return replace(running, batches=batches())


def _fail(message: str) -> NoReturn:
    echo(f"northwatch: {message}", is_error=True)
    raise SystemExit(2)
