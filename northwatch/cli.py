"""The command line. What a command needs is imported when it runs, so that `--help` and `decode` start at
once."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn, TypeAlias

import typer

from northwatch import cli_archive, cli_replay
from northwatch.cli_holds import holds
from northwatch.cli_lobby import lobby
from northwatch.cli_log import logs
from northwatch.cli_settings import settings
from northwatch.cli_terminals import terminals
from northwatch.cli_users import users
from northwatch.modes import keep_to_ourselves
from northwatch.screen import Screen, echo
from northwatch.times import TIME_HELP, moment, period, shown

if TYPE_CHECKING:
    import ssl

DEFAULT_FLEET = 50
"""Vehicles of `up --demo` without a number."""

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings [default: ./northwatch.toml if there is one]"),
]

app = typer.Typer(
    name="northwatch",
    help="Northwatch 北斗值守: JT/T 808 gateway, alarm desk and repair tickets for vehicle terminals.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(users, name="user")
app.add_typer(terminals, name="terminal")
app.add_typer(lobby, name="lobby")
app.add_typer(holds, name="hold")
app.add_typer(settings, name="settings")
app.add_typer(logs, name="log")
app.command()(cli_archive.verify)
app.command()(cli_archive.frames)
app.command()(cli_replay.replay)


@app.command()
def up(
    config: ConfigOption = None,
    demo: Annotated[
        int | None,
        typer.Option(
            min=1, max=20_000, metavar="[N]", help=f"Also drive N simulated vehicles [{DEFAULT_FLEET}]"
        ),
    ] = None,
) -> None:
    """Run everything on this machine, and start again what dies."""
    from northwatch.supervisor import AlreadyRunning, DirectoryUnusable, PortTaken
    from northwatch.up import Up
    from northwatch.wiring import settings_for

    settings = settings_for(config)
    try:
        code = Up(settings, config, demo).run()
    except (AlreadyRunning, DirectoryUnusable, PortTaken) as error:
        fail(str(error))
    raise typer.Exit(code)


@app.command()
def gateway(
    config: ConfigOption = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="So many processes share the ports [default: gateway.processes]")
    ] = None,
    slot: Annotated[int | None, typer.Option(min=0, hidden=True, help="Be this one of them")] = None,
) -> None:
    """Receive terminals: sockets, sessions, the log, answers."""
    from northwatch import gateways
    from northwatch.supervisor import DirectoryUnusable, PortTaken
    from northwatch.wiring import run_gateway, settings_for

    if processes is not None:
        os.environ["NORTHWATCH_GATEWAY__PROCESSES"] = str(processes)
    settings = settings_for(config)
    if slot is not None and slot >= settings.gateway.processes:
        fail(f"--slot {slot}: there are {settings.gateway.processes} processes, the first has slot 0")
    if slot is not None or settings.gateway.processes == 1:
        run_gateway(settings, slot or 0)
        return
    try:
        gateways.run(settings, config)
    except (DirectoryUnusable, PortTaken) as error:
        fail(str(error))


@app.command()
def worker(config: ConfigOption = None) -> None:
    """Turn the log into positions, alarms and tickets."""
    from northwatch.wiring import run_worker, settings_for

    run_worker(settings_for(config))


@app.command()
def keeper(config: ConfigOption = None) -> None:
    """Keep the record in order: retention, compression, the archive."""
    from northwatch.wiring import run_keeper, settings_for

    run_keeper(settings_for(config))


@app.command()
def events(config: ConfigOption = None) -> None:
    """Tell an MQTT broker of alarms, links and tickets."""
    from northwatch.wiring import run_events, settings_for

    run_events(settings_for(config))


@app.command()
def monitor(config: ConfigOption = None) -> None:
    """Serve the web page and the API."""
    from northwatch.wiring import run_monitor, settings_for

    run_monitor(settings_for(config))


@app.command()
def sim(
    config: ConfigOption = None,
    terminals: Annotated[int, typer.Option(min=1, max=100_000, help="How many vehicles")] = DEFAULT_FLEET,
    host: Annotated[str, typer.Option(help="Where the gateway is")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="[default: gateway.port, tls_port or udp_port of the settings]")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS")] = False,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --tls: trust this authority (PEM), not the system's"),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="With --tls: trust any certificate; for tests")
    ] = False,
    udp: Annotated[bool, typer.Option("--udp", help="Send datagrams")] = False,
    scenario: Annotated[
        str, typer.Option(help="demo: with incidents; steady: everybody just drives")
    ] = "demo",
    seed: Annotated[int | None, typer.Option(help="Same seed, same story [default: demo.seed]")] = None,
    interval: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds between reports [default: demo.report_s]")
    ] = None,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Stop after so many seconds")] = None,
) -> None:
    """Drive a simulated fleet around Liaoning against a gateway."""
    from northwatch.sim.fleet import Route, run
    from northwatch.wiring import fleet_plan, settings_for

    if scenario not in ("demo", "steady"):
        fail(f"--scenario {scenario}: allowed are demo and steady")
    if tls and udp:
        fail("--tls and --udp exclude each other")
    if (ca or insecure) and not tls:
        fail("--ca and --insecure belong to --tls")
    settings = settings_for(config)
    plan = fleet_plan(settings, terminals=terminals, told=scenario == "demo", seed=seed, interval_s=interval)
    ways = settings.gateway
    port = port or (ways.tls_port if tls else ways.udp_port if udp else ways.port)
    if port is None:
        fail(f"--{'tls' if tls else 'udp'}: give --port, or set gateway.{'tls' if tls else 'udp'}_port")
    run(plan, Route(host, port, _trust(ca, insecure=insecure) if tls else None, udp), duration)


def _trust(ca: Path | None, *, insecure: bool) -> "ssl.SSLContext":
    """Say whose certificates the simulated terminals accept."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # of the file, or of what is in it
        fail(f"--ca {ca}: {error.strerror or error}")
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@app.command()
def decode(
    frames: Annotated[
        list[str] | None,
        typer.Argument(metavar="HEX…", help="A frame, 7e…7e, or all fragments of a message; - reads them"),
    ] = None,
    jsonl: Annotated[
        str | None,
        typer.Option("--jsonl", metavar="FILE", help="JSON objects, one per line; - is standard input"),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Every byte, what it means, and what is wrong; any bytes will do"),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --explain: as JSON")] = False,
    edition: Annotated[
        str | None, typer.Option(help="With --explain: 2011, 2013 or 2019, as the terminal registered")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="With --explain: the terminal's profile")] = None,
) -> None:
    """Show what is in a frame."""
    from northwatch.decode import decode_frame, decode_lines
    from northwatch.explain import print_explanation

    if (not frames) == (jsonl is None):
        fail("give either one frame in hex, or --jsonl FILE")
    if not explain and (json or edition or profile):
        fail("--json, --edition and --profile belong to --explain")
    if explain and jsonl is not None:
        fail("--explain takes hex, not --jsonl")
    if frames:
        texts = [sys.stdin.read()] if frames == ["-"] else frames
        if explain:
            raise typer.Exit(print_explanation(texts, edition=edition, profile=profile, as_json=json))
        raise typer.Exit(decode_frame(texts))
    with _lines(str(jsonl)) as lines:
        decode_lines(lines)


@app.command()
def encode(
    record: Annotated[
        str | None,
        typer.Argument(metavar="JSON", help='{"msg_id", "terminal", "body", "version"?, "serial"?}'),
    ] = None,
    jsonl: Annotated[
        str | None,
        typer.Option("--jsonl", metavar="FILE", help="JSON objects, one per line; - is standard input"),
    ] = None,
) -> None:
    """Write frames from what `decode` shows."""
    from northwatch.decode import encode_lines, encode_record

    if (record is None) == (jsonl is None):
        fail("give either one JSON object, or --jsonl FILE")
    if record is not None:
        raise typer.Exit(encode_record(record))
    with _lines(str(jsonl)) as lines:
        encode_lines(lines)


@contextmanager
def _lines(name: str) -> Iterator[BinaryIO]:
    """Open a file of lines; "-" is standard input."""
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(name).open("rb") as lines:
            yield lines
    except OSError as error:
        fail(f"{name}: cannot be read: {error.strerror}")


@app.command()
def migrate(config: ConfigOption = None) -> None:
    """Bring the database's schema to this version."""
    from northwatch.wiring import migrate as bring_up_to_date
    from northwatch.wiring import settings_for

    applied = bring_up_to_date(settings_for(config))
    for migration in applied:
        echo(f"{migration.number:04} {migration.name} applied")
    if not applied:
        echo("nothing to do")


@app.command()
def backup(
    directory: Annotated[Path, typer.Argument(help="A new directory, or that of an earlier backup")],
    config: ConfigOption = None,
) -> None:
    """Copy everything that must not be lost, while everything goes on."""
    from northwatch.backup import BackupError, back_up
    from northwatch.wiring import settings_for

    with _told(f"backup into {directory}") as say:
        try:
            back_up(settings_for(config), directory, say)
        except BackupError as error:
            fail(str(error))
    echo(f"{directory} is a whole backup")


@app.command()
def restore(
    directory: Annotated[Path, typer.Argument(help="A backup")],
    config: ConfigOption = None,
) -> None:
    """Make a new data directory, and an empty database, what they were at the time of a backup."""
    from northwatch.backup import BackupError
    from northwatch.backup import restore as restore_backup
    from northwatch.wiring import settings_for

    with _told(f"restore from {directory}") as say:
        try:
            manifest = restore_backup(settings_for(config), directory, say)
        except BackupError as error:
            fail(str(error))
    made_at = shown(datetime.fromisoformat(manifest["made_at"]))
    echo(f"restored as of {made_at}; `northwatch up` goes on from there")


@contextmanager
def _told(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done."""

    with Screen(stderr=True).status(what) as status:
        yield lambda part: status.update(f"{what}: {part}")


@app.command()
def export(
    subject: Annotated[str, typer.Argument(help="positions, trips, stops, days, alarms or tickets")],
    since: Annotated[datetime, typer.Option("--from", parser=moment, metavar="TIME", help=TIME_HELP)],
    until: Annotated[
        datetime, typer.Option("--to", parser=moment, metavar="TIME", help="The first moment left out")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file; its ending says which format")],
    config: ConfigOption = None,
    plate: Annotated[str | None, typer.Option(help="Of this vehicle only")] = None,
    terminal: Annotated[str | None, typer.Option(help="Of this terminal only")] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME=VALUE",
            help="Alarms: condition, severity, desk (free, taken, handled), result; tickets: state, fault",
        ),
    ] = None,
) -> None:
    """Write the rows of a period to a .csv, .parquet or .geojson file."""
    from northwatch.export import export_file
    from northwatch.wiring import settings_for

    code = export_file(
        settings_for(config),
        subject,
        period(since, until),
        output,
        plate=plate,
        identity=terminal,
        filters=filters or (),
    )
    raise typer.Exit(code)


@app.command()
def doctor(config: ConfigOption = None) -> None:
    """Say what is in use, what is wrong, and what to do about it."""
    from northwatch.doctor import examine
    from northwatch.wiring import settings_for

    raise typer.Exit(examine(settings_for(config)))


def fail(message: str) -> NoReturn:
    """Say what is wrong and stop as a wrong command line does."""
    echo(f"northwatch: {message}", is_error=True)
    raise typer.Exit(2)


def main() -> None:
    keep_to_ourselves()
    app(args=_with_fleet_size(sys.argv[1:]))


def _with_fleet_size(arguments: list[str]) -> list[str]:
    """Allow `up --demo` without a number, which the parser knows no word for."""
    completed: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        completed.append(argument)
        if argument == "--demo" and not following.isdecimal():
            completed.append(str(DEFAULT_FLEET))
    return completed
