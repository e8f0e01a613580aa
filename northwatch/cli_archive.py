"""`northwatch verify` and `northwatch frames`: what was received, and the proof that it is all there."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import msgspec
import typer

if TYPE_CHECKING:
    from store.proof import Proof

BEIJING = timezone(timedelta(hours=8))
ConfigOption: TypeAlias = Annotated[Path | None, typer.Option("--config", help="TOML file with settings")]


def verify(
    terminal: Annotated[str | None, typer.Option(help="Read the frames of this terminal alone")] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day of receipt, as 2026-03-01")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day of receipt")] = None,
    heads: Annotated[
        Path | None,
        typer.Option(help="A copy of the archive's heads from elsewhere, which must be their beginning"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object")] = False,
    config: ConfigOption = None,
) -> None:
    """Prove that the archive is what was received, or name the first place where it is not."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from northwatch.wiring import settings_for
    from store.proof import prove

    settings = settings_for(config)
    directory = settings.data_dir / "archive"
    if not directory.exists():
        fail(f"there is no archive in {directory}; is data_dir right? The keeper makes one")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=json) as progress:
        task = progress.add_task("proving", total=None)
        proof = prove(
            directory,
            identity=identity_of(terminal) if terminal else None,
            between=(_day(since, date.min), _day(until, date.max)),
            copied=_copied(heads),
            logs=settings.data_dir / "log",
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if json:
        typer.echo(msgspec.json.encode({"holds": proof.holds} | msgspec.to_builtins(_told(proof))))
    else:
        _print(proof)
    raise typer.Exit(0 if proof.holds else 1)


def frames(
    terminal: Annotated[str, typer.Argument(help="The terminal's number; leading zeros do not count")],
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Received not before; Beijing time, or with an offset"),
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Received before")] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="As `northwatch decode --jsonl -` takes them")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Print what a terminal sent, as it was on the wire; the last 24 hours unless told otherwise."""
    from northwatch.wiring import settings_for
    from protocol.columns import identities
    from protocol.frame import escape
    from store.archive import Archive
    from store.chunk import ChunkDamaged
    from store.log import LogError
    from store.times import from_us

    data_dir = settings_for(config).data_dir
    end = moment(until) if until else datetime.now(UTC)
    begin = moment(since) if since else end - timedelta(days=1)
    try:
        for each in Archive(data_dir / "archive", data_dir / "log", identities).frames(
            identity_of(terminal), begin, end
        ):
            at = from_us(each.received_us).astimezone(BEIJING).isoformat(timespec="microseconds")
            wire = each.wire(escape).hex()
            typer.echo(msgspec.json.encode({"id": at, "hex": wire}) if jsonl else f"{at}  {wire}")
    except (ChunkDamaged, LogError, OSError) as error:
        fail(str(error), code=1)


def _print(proof: "Proof") -> None:
    from rich.console import Console

    say = Console(soft_wrap=True, highlight=False).print
    if proof.chunks:
        say(
            f"{proof.first} to {proof.last}: {proof.chunks} chunks, {proof.blocks} links,"
            f" {proof.frames} frames, {proof.bytes / 1e6:.1f} MB"
        )
    for removed in proof.removed:
        say(
            f"{removed.day}: removed by retention at {removed.at:%Y-%m-%d %H:%M}Z ({removed.why}), heads kept"
        )
    for gap in proof.gaps:
        say(
            f"chunk {gap.chunk}: {gap.end - gap.begin} bytes of log {gap.log} before it were never archived:"
            " archiving was off"
        )
    if proof.broken is None:
        say("[green]everything holds[/green]" if proof.chunks else "nothing to prove")
        return
    broken = proof.broken
    line = f", line {broken.line}" if broken.line else ""
    place = f", byte {broken.offset}" if broken.offset is not None else ""
    say(f"[red]broken[/red] at {broken.where}{line}{place}: {broken.what}")
    if broken.terminal:
        say(f"first broken link: {broken.day}, chunk {broken.chunk}, terminal {broken.terminal}")


def _told(proof: "Proof") -> dict[str, object]:
    from dataclasses import asdict

    gaps = [each._asdict() for each in proof.gaps]
    broken = proof.broken._asdict() if proof.broken else None
    return asdict(proof) | {"gaps": gaps, "broken": broken, "removed": proof.removed}


def identity_of(text: str) -> str:
    """Read a terminal's number of the command line."""
    from store.fleet import clean_identity
    from store.refusals import Unacceptable

    try:
        return clean_identity(text)
    except Unacceptable as refused:
        fail(str(refused))


def _day(text: str | None, otherwise: date) -> date:
    try:
        return date.fromisoformat(text) if text else otherwise
    except ValueError:
        fail(f"{text!r} is no day; write it as 2026-03-01")


def moment(text: str) -> datetime:
    """Read a time of the command line; Beijing time unless it says otherwise."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no time; write it as 2026-03-01T08:15:30, or with an offset as …+00:00")
    return at if at.tzinfo else at.replace(tzinfo=BEIJING)


def _copied(path: Path | None) -> list[bytes]:
    try:
        return path.read_bytes().splitlines() if path else []
    except OSError as error:
        fail(f"{path}: cannot be read: {error.strerror}")


def fail(message: str, code: int = 2) -> NoReturn:
    """Say what is wrong and stop."""
    typer.echo(f"northwatch: {message}", err=True)
    raise typer.Exit(code)
