"""`northwatch replay`: what was received goes through today's decoder and rules, beside what is stored."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from northwatch.cli_archive import fail, identity_of
from northwatch.screen import Screen, echo, echo_json
from northwatch.shell import ConfigOption, who
from northwatch.times import TIME_HELP, moment, period, shown

if TYPE_CHECKING:
    from keeper.replay import ReplayOptions
    from store.shadow import Shadow

EXAMPLES: Final = 3
"""Of each kind of difference; all of them stand in the shadow's table `differences`."""
EQUAL, DIFFERENT = 0, 1
PERMILLE: Final = 1000
"""Steps of the bar while reading."""


class DecisionsOf(StrEnum):
    """Which of people's decisions a replay goes by."""

    THEN = "then"
    NOW = "now"


_SAYS: Final = {"missing": "not stored", "changed": "stored differently", "extra": "only stored"}


def replay(
    since: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, metavar="TIME", help=f"Received not before; {TIME_HELP}"),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", parser=moment, metavar="TIME", help="Received before [default: now]"),
    ] = None,
    terminal: Annotated[str | None, typer.Option(help="Of this terminal only")] = None,
    decisions: Annotated[
        DecisionsOf, typer.Option(help="What people had decided then, or what they have by now")
    ] = DecisionsOf.THEN,
    adopt: Annotated[bool, typer.Option("--adopt", help="Take over what the replay says")] = False,
    resume: Annotated[
        int | None, typer.Option(metavar="REPLAY", help="Go on with this one, or look at it again")
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="Say which replays there are")] = False,
    drop: Annotated[int | None, typer.Option(metavar="REPLAY", help="Forget this one")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object")] = False,
    config: ConfigOption = None,
) -> None:
    """Run what was received through today's decoder and rules, and say what differs from what is stored.

    Nothing that is stored changes without --adopt. Ends with 0 where all is equal or was taken over, with 1
    where something differs.
    """
    from northwatch.wiring import database, settings_for, worker_options

    if [since is not None, resume is not None, list_them, drop is not None].count(True) != 1:
        fail("give one of --from, --resume, --list and --drop")
    settings = settings_for(config)
    with database(settings) as connection, _told():
        from keeper.replay import ReplayOptions
        from northwatch.wiring import dsn

        wanted = worker_options(settings)
        options = ReplayOptions(dsn(settings), settings.data_dir, wanted.policies, wanted.quarantine)
        connection.autocommit = True
        if list_them:
            _list(connection)
        elif drop is not None:
            _drop(connection, drop)
        else:
            number = _started(options, (since, until), terminal, decisions) if since else int(resume or 0)
            raise typer.Exit(_run(options, number, adopt=adopt, json=json))


def _started(
    options: "ReplayOptions",
    times: tuple[datetime, datetime | None],
    terminal: str | None,
    decisions: DecisionsOf,
) -> int:
    from keeper.replay import start

    begin, end = period(times[0], times[1] or datetime.now(UTC))
    identity = identity_of(terminal) if terminal else None
    return start(options, begin, end, identity, decisions_of=decisions.value)


def _run(options: "ReplayOptions", number: int, *, adopt: bool, json: bool) -> int:
    """Read, compare, and adopt if told to; give the exit code."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from keeper import replay
    from store import differences, shadow

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    if not json:
        echo(f"replay {number}; should it be interrupted: northwatch replay --resume {number}")
    with Progress(*columns, console=Screen(stderr=True), transient=True, disable=json) as progress:
        with replay.Reading(options, number) as reading:
            task = progress.add_task("reading", total=PERMILLE, completed=round(PERMILLE * reading.share))
            while reading.step():
                progress.update(task, completed=round(PERMILLE * reading.share))
            progress.update(task, completed=PERMILLE)
        about = replay.compare(options, number, _bar(progress, "comparing"))
        if adopt:
            about = replay.adopt(options, number, who(), _bar(progress, "adopting"))
    with replay.connect(options.dsn) as connection:
        rows = differences.summary(connection, number)
        some = differences.examples(connection, number, EXAMPLES)
        left = sum(row["count"] - row["adopted"] for row in rows)
        if json:
            echo_json(msgspec.json.encode(_object(about, rows, some), enc_hook=str))
        else:
            _print(about, rows, some)
        if not left:
            shadow.drop(connection, number)
        elif not json:
            wish = "" if adopt else f"northwatch replay --resume {number} --adopt takes over; "
            echo(f"{wish}northwatch replay --drop {number} forgets this replay")
    return DIFFERENT if left else EQUAL


def _bar(progress: Any, what: str) -> Callable[[int, int], None]:
    task = progress.add_task(what, total=None)
    return lambda done, total: progress.update(task, completed=done, total=max(total, 1))


def _print(about: "Shadow", rows: list[dict[str, Any]], some: list[dict[str, Any]]) -> None:
    from rich.table import Table

    say = Screen(soft_wrap=True).print
    whose = f" of terminal {about.identity}" if about.identity else ""
    say(f"received from {shown(about.since)} to {shown(about.until)}{whose}: {about.records} records read")
    if not rows:
        say("no difference", style="green")
        return
    table = Table("fact", "", "count", "adopted", "terminals", "from", "to", "columns")
    for row in rows:
        named = ", ".join(f"{name} {count}" for name, count in sorted(row["columns"].items()))
        counts = (str(row[name]) for name in ("count", "adopted", "terminals"))
        times = (shown(row[name]) for name in ("first_at", "last_at"))
        table.add_row(row["kind"], _SAYS[row["change"]], *counts, *times, named)
    say(table)
    for each in some:
        values = ", ".join(f"{name} {old} → {new}" for name, (old, new) in _values(each).items())
        outcome = f" ({each['outcome']})" if each["outcome"] else ""
        say(
            f"{each['kind']} {_SAYS[each['change']]}: {each['identity'] or '?'} {shown(each['at'])}{outcome}"
            f" {values}",
        )


def _object(about: "Shadow", rows: list[dict[str, Any]], some: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "replay": about.number,
        "stage": about.stage,
        "from": about.since,
        "to": about.until,
        "terminal": about.identity,
        "records": about.records,
        "equal": not rows,
        "differences": rows,
        "examples": [
            {name: each[name] for name in ("kind", "change", "identity", "at", "outcome")}
            | {"values": _values(each)}
            for each in some
        ],
    }


def _values(example: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Give what is stored and what the replay says, by column."""
    live, replayed = example["live"] or {}, example["replayed"] or {}
    return {name: (live.get(name), replayed.get(name)) for name in example["columns"]}


def _list(connection: Any) -> None:
    from rich.table import Table

    from store import shadow

    table = Table("replay", "begun", "from", "to", "terminal", "stage", "reached")
    for number in shadow.numbers(connection):
        about = shadow.about(connection, number)
        times = (shown(at) for at in (about.created_at, about.since, about.until))
        table.add_row(str(number), *times, about.identity or "all", about.stage, shown(about.reached))
    Screen().print(table)


def _drop(connection: Any, number: int) -> None:
    from store import shadow

    if not shadow.claim(connection, number):
        fail(f"another process is working on replay {number}")
    shadow.drop(connection, number)
    echo(f"replay {number} is forgotten")


@contextmanager
def _told() -> Iterator[None]:
    """Say what went wrong, and end with a code that is no result."""
    import psycopg

    from keeper.replay import ReplayError
    from northwatch.config import without_password
    from store.chunk import ChunkDamaged
    from store.log import LogError
    from store.shadow import ShadowMissing

    try:
        yield
    except (ReplayError, ShadowMissing, ChunkDamaged, LogError, OSError) as error:
        fail(str(error))
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        said = str(error).splitlines()[0]
        fail(
            f"{said}: run `northwatch migrate`; a replay that was begun before an update is to be begun anew"
        )
    except psycopg.Error as error:
        said = without_password(str(error)).strip()
        fail(f"the database: {said}; `northwatch replay --list` says what can be resumed")
    except KeyboardInterrupt:
        fail("interrupted; `northwatch replay --list` says what can be resumed", code=130)
