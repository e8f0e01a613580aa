"""`northwatch verify` and `northwatch frames`: what was received, and the proof that it is all there."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import msgspec
import typer

from northwatch.screen import Screen, echo, echo_json, styled
from northwatch.shell import ConfigOption
from northwatch.times import BEIJING, TIME_HELP, day, moment, period, shown

if TYPE_CHECKING:
    from rich.progress import Progress

    from northwatch.config import Settings
    from store.media import MediaProof
    from store.proof import Proof

MEDIA: Final = "media"
"""Directory of the contents of media."""


def verify(
    terminal: Annotated[str | None, typer.Option(help="Of this terminal alone")] = None,
    since: Annotated[
        date | None,
        typer.Option("--from", parser=day, metavar="DAY", help="First day of receipt, as 2026-03-01"),
    ] = None,
    until: Annotated[
        date | None, typer.Option("--to", parser=day, metavar="DAY", help="Last day of receipt")
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(help="A copy of the archive's heads from elsewhere, which must be their beginning"),
    ] = None,
    archive_alone: Annotated[
        bool, typer.Option("--archive", help="The archive alone, not media: needs no database")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object")] = False,
    config: ConfigOption = None,
) -> None:
    """Prove that archive and media are what was received, or name the first place where they are not."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from northwatch.wiring import settings_for
    from store.proof import prove

    settings = settings_for(config)
    directory = settings.data_dir / "archive"
    if archive_alone and not directory.exists():
        fail(f"there is no archive in {directory}; is data_dir right? The keeper makes one")
    identity = identity_of(terminal) if terminal else None
    between = since or date.min, until or date.max
    copied = _copied(heads)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Screen(stderr=True), transient=True, disable=json) as progress:
        media = None if archive_alone else _prove_media(settings, between, identity, progress)
        task = progress.add_task("archive", total=None)
        proof = prove(
            directory,
            identity=identity,
            between=between,
            copied=copied,
            logs=settings.data_dir / "log",
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    holds = proof.holds and (media is None or media.broken is None)
    if json:
        told = _told(proof) | {"holds": holds, "media": media and _told_of_media(media)}
        echo_json(msgspec.json.encode(msgspec.to_builtins(told)))
    else:
        _print(proof)
        if media is not None:
            _print_media(media)
    raise typer.Exit(0 if holds else 1)


def _prove_media(
    settings: "Settings", between: tuple[date, date], identity: str | None, progress: "Progress"
) -> "MediaProof":
    import psycopg

    from northwatch.wiring import database
    from store import media
    from store.blobs import Blobs

    task = progress.add_task("media", total=None)
    with database(settings) as connection:
        connection.autocommit = True  # it may take hours, and nothing is to be held meanwhile
        try:
            return media.prove(
                connection,
                Blobs(settings.data_dir / MEDIA),
                identity=identity,
                between=between,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        except psycopg.errors.UndefinedTable:
            fail("the database has no table of media yet; run `northwatch migrate`", code=1)


def frames(
    terminal: Annotated[str, typer.Argument(help="The terminal's number; leading zeros do not count")],
    since: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, metavar="TIME", help=f"Received not before; {TIME_HELP}"),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", parser=moment, metavar="TIME", help="Received before")
    ] = None,
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
    end = until or datetime.now(UTC)
    begin, end = period(since or end - timedelta(days=1), end)
    try:
        for each in Archive(data_dir / "archive", data_dir / "log", identities).frames(
            identity_of(terminal), begin, end
        ):
            at = from_us(each.received_us).astimezone(BEIJING).isoformat(timespec="microseconds")
            wire = each.wire(escape).hex()
            echo(msgspec.json.encode({"id": at, "hex": wire}).decode() if jsonl else f"{at}  {wire}")
    except BrokenPipeError:
        raise  # whoever reads has had enough: the command ends quietly
    except (ChunkDamaged, LogError, OSError) as error:
        fail(str(error), code=1)


def _print(proof: "Proof") -> None:

    say = Screen(soft_wrap=True).print
    if proof.chunks:
        say(
            f"{proof.first} to {proof.last}: {proof.chunks} chunks, {proof.blocks} links,"
            f" {proof.frames} frames, {proof.bytes / 1e6:.1f} MB"
        )
    for removed in proof.removed:
        say(f"{removed.day}: removed by retention at {shown(removed.at)} ({removed.why}), heads kept")
    for gap in proof.gaps:
        say(
            f"chunk {gap.chunk}: {gap.end - gap.begin} bytes of log {gap.log} before it were never archived:"
            " archiving was off"
        )
    for skipped in proof.skipped:
        say(
            f"chunk {skipped.chunk}: {skipped.end - skipped.begin} bytes of log {skipped.log} at position"
            f" {skipped.begin} were damaged and skipped at {shown(skipped.at)} by {skipped.by}; they are kept"
            f" in damaged/{skipped.kept}"
        )
    for aside in proof.set_aside:
        say(
            f"chunk {aside.chunk} of {aside.day} is set aside: its records are whole and as received,"
            f" but not sorted by terminal ({aside.cause})"
        )
    if proof.broken is None:
        say(styled("archive: ", ("everything holds", "green") if proof.chunks else "nothing to prove"))
        return
    broken = proof.broken
    line = f", line {broken.line}" if broken.line else ""
    place = f", byte {broken.offset}" if broken.offset is not None else ""
    say(styled(("broken", "red"), f" at {broken.where}{line}{place}: {broken.what}"))
    if broken.terminal:
        say(f"first broken link: {broken.day}, chunk {broken.chunk}, terminal {broken.terminal}")


def _print_media(proof: "MediaProof") -> None:

    say = Screen(soft_wrap=True).print
    if proof.broken is None:
        what = ("each has its hash", "green") if proof.files else "none to prove"
        say(styled(f"media: {proof.files} files, {proof.bytes / 1e6:.1f} MB: ", what))
        return
    broken = proof.broken
    say(styled(("broken", "red"), f" at {MEDIA}/{broken.where}: {broken.what}"))
    say(
        f"first broken medium: {broken.medium}, of terminal {broken.terminal},"
        f" received {shown(broken.received_at)}"
    )


def _told(proof: "Proof") -> dict[str, object]:
    from dataclasses import asdict

    gaps = [each._asdict() for each in proof.gaps]
    skipped = [each._asdict() for each in proof.skipped]
    broken = proof.broken._asdict() if proof.broken else None
    aside = [each._asdict() for each in proof.set_aside]
    lists = {"gaps": gaps, "skipped": skipped, "set_aside": aside, "removed": proof.removed}
    return asdict(proof) | lists | {"broken": broken}


def _told_of_media(proof: "MediaProof") -> dict[str, object]:
    broken = proof.broken._asdict() if proof.broken else None
    return {"files": proof.files, "bytes": proof.bytes, "broken": broken}


def identity_of(text: str) -> str:
    """Read a terminal's number of the command line."""
    from store.fleet import clean_identity
    from store.refusals import Unacceptable

    try:
        return clean_identity(text)
    except Unacceptable as refused:
        fail(str(refused))


def _copied(path: Path | None) -> list[bytes]:
    try:
        return path.read_bytes().splitlines() if path else []
    except OSError as error:
        fail(f"{path}: cannot be read: {error.strerror}")


def fail(message: str, code: int = 2) -> NoReturn:
    """Say what is wrong and stop."""
    echo(f"northwatch: {message}", is_error=True)
    raise typer.Exit(code)
