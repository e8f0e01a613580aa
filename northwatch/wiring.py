"""From settings to running parts. The rooms below take plain options and know nothing of configuration."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from northwatch.config import LEAST_SEGMENTS, ConfigError, Settings, load, without_password
from northwatch.endpoint import Endpoint
from northwatch.gateways import Orphans, log_limits
from northwatch.modes import close, open_to_others
from northwatch.process import possible_connections, prepare, stop_event
from northwatch.pulse import Pulse
from northwatch.screen import echo
from store import archive, grants, outbox, people, schema, survey
from store.archive import CHUNK_BYTES
from store.embedded import Embedded, EmbeddedError
from store.grants import Process
from store.log import FIRST, LogError, LogReader, LogWriter
from store.merge import logs_in
from store.refusals import Refused, RosterInvalid

if TYPE_CHECKING:
    from gateway.certificates import CertificateFiles
    from keeper.options import KeeperOptions
    from northwatch.sim.fleet import Plan
    from worker.run import WorkerOptions

T = TypeVar("T")
CONNECT_TIMEOUT_S = 10
IN_CLEAR = (
    "passwords and the page cross the network in clear. Set monitor.tls_certificate and monitor.tls_key, or"
    " put a proxy with a certificate in front (monitor.host = 127.0.0.1, or monitor.secure_cookie = true)"
)
"""For the person who starts a monitor that listens to a network without HTTPS."""


def settings_for(config: Path | None) -> Settings:
    """Load the settings; wrong ones are told and end the program with code 2."""
    try:
        return load(config)
    except ConfigError as error:
        _fail(2, f"the configuration is wrong:\n  {str(error).replace(chr(10), chr(10) + '  ')}")


def database_directory(settings: Settings) -> Path:
    """Where the embedded PostgreSQL keeps its files."""
    return settings.data_dir / "database"


def logs_directory(settings: Settings) -> Path:
    """Where the gateways write their logs, each in a directory named by its slot."""
    return settings.data_dir / "log"


def dsn(settings: Settings, process: Process | None = None) -> str:
    """Give the connection string of a process, or of who owns the tables; that of the embedded database is
    the same whether it runs or not."""
    if settings.database_url is None:
        embedded = Embedded(database_directory(settings))
        return embedded.dsn(user=_own_role(process)) if process else embedded.dsn()
    return (getattr(settings.database_roles, process) if process else None) or settings.database_url


def roles(settings: Settings) -> dict[Process, str]:
    """Give the role of each process that has one of its own."""
    if settings.database_url is None:
        return {process: _own_role(process) for process in Process}
    urls = {process: getattr(settings.database_roles, process) for process in Process}
    return {
        process: str(conninfo_to_dict(url).get("user", ""))
        for process, url in urls.items()
        if url is not None
    }


def _own_role(process: Process) -> str:
    return f"northwatch_{process}"


def bring_up_to_date(settings: Settings, connection: psycopg.Connection[Any]) -> list[schema.Migration]:
    """Apply what is pending, give each process's role its rights, and say what was applied.

    Raises:
        schema.SchemaError, psycopg.Error
    """
    applied = schema.migrate(connection)
    grants.give(connection, roles(settings), make=settings.database_url is None)
    return applied


@contextmanager
def database(settings: Settings, *, create: bool = False) -> Iterator[psycopg.Connection[Any]]:
    """Connect, starting the embedded database for as long as we need it where it does not run.

    Only with `create` an embedded database is made where there is none: a person in the wrong directory is
    told.

    A database that cannot be reached is told and ends the program with code 1.
    """
    with _served(settings, create) as conninfo:
        try:
            connection = psycopg.connect(conninfo, connect_timeout=CONNECT_TIMEOUT_S)
        except psycopg.OperationalError as error:
            _unreachable(settings, error)
        with connection:
            yield connection


def migrate(settings: Settings) -> list[schema.Migration]:
    """Bring the schema to this version and give what was applied; what cannot be is told and ends the program
    with code 1."""
    with database(settings, create=True) as connection:
        try:
            return bring_up_to_date(settings, connection)
        except (schema.SchemaError, psycopg.Error) as error:
            _fail(1, without_password(str(error)).strip())


async def in_database(settings: Settings, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
    """Do `work` in one transaction. A refusal is told and ends the program with code 1; nothing was changed
    then."""
    with _served(settings, create=False) as conninfo:
        try:
            connection = await psycopg.AsyncConnection.connect(
                conninfo, connect_timeout=CONNECT_TIMEOUT_S, row_factory=dict_row
            )
        except psycopg.OperationalError as error:
            _unreachable(settings, error)
        try:
            async with connection:
                return await work(connection)
        except RosterInvalid:
            raise
        except Refused as refused:
            _fail(1, str(refused))
        except psycopg.errors.UndefinedTable:
            _fail(1, "the database has no tables yet; run `northwatch migrate`")


@contextmanager
def _served(settings: Settings, create: bool) -> Iterator[str]:
    if settings.database_url:
        yield settings.database_url
        return
    server = Embedded(database_directory(settings))
    if not create and not (server.directory / "PG_VERSION").exists():
        _fail(
            1,
            f"there is no database in {server.directory}; is data_dir right? `northwatch migrate` makes one",
        )
    if server.is_running():
        yield server.dsn()
        return
    try:
        conninfo = server.start()
    except EmbeddedError as error:
        _fail(1, str(error))
    except OSError as error:
        _fail(1, f"data_dir: the database in {server.directory} cannot be made or used: {error.strerror}")
    try:
        yield conninfo
    finally:
        server.stop()


def lacks_history(settings: Settings, connection: psycopg.Connection[Any]) -> str:
    """Say so where a database has read nothing although logs and archive of this data directory begin before;
    empty where it lacks nothing."""
    if survey.cursors(connection):
        return ""
    begun = [str(day) for day in archive.days(settings.data_dir / "archive")[:1]]
    with suppress(LogError):
        logs = logs_in(logs_directory(settings)).values()
        begun += [f"position {start}" for start in (LogReader(path).start for path in logs) if start > FIRST]
    if not begun:
        return ""
    return (
        "this database has read nothing, but terminals were received here before"
        f" (from {begun[0]}): that is not in it. `northwatch doctor` says what to do"
    )


def first_admin(settings: Settings) -> str | None:
    """Add the first administrator where there is no user yet; give the password, which nobody can read
    again."""

    async def add() -> str | None:
        async with await psycopg.AsyncConnection.connect(dsn(settings), row_factory=dict_row) as connection:
            return await people.ensure_admin(connection)

    return asyncio.run(add())


def forget_broker(settings: Settings) -> None:
    """Have no events kept for a broker that is not configured any more."""

    async def leave() -> None:
        async with await psycopg.AsyncConnection.connect(dsn(settings), row_factory=dict_row) as connection:
            await outbox.leave(connection, outbox.MQTT)

    if settings.mqtt_url is None:
        asyncio.run(leave())


def _unreachable(settings: Settings, error: Exception) -> NoReturn:
    where = without_password(settings.database_url) if settings.database_url else "the embedded database"
    _fail(1, f"{where} cannot be reached: {without_password(str(error)).strip()}")


def _fail(code: int, message: str) -> NoReturn:
    echo(f"northwatch: {message}", is_error=True)
    raise typer.Exit(code)


def run_gateway(settings: Settings, slot: int = 0) -> None:
    """`northwatch gateway`, the process in one slot: receive terminals until SIGTERM or SIGINT, and answer
    what is durable by then.
    """
    import uvloop

    from gateway.addresses import AddressLimits
    from gateway.allowance import Allowance
    from gateway.certificates import CertificateError
    from gateway.lobby import LobbyLimits
    from gateway.server import Gateway, GatewayOptions
    from northwatch.fleet_source import FleetSource

    prepare()
    wanted = settings.gateway
    options = GatewayOptions(
        data_dir=settings.data_dir,
        host=wanted.host,
        port=wanted.port,
        tls_port=wanted.tls_port,
        certificate=certificate_files(settings),
        udp_port=wanted.udp_port,
        reuse_port=wanted.processes > 1,
        slot=slot,
        balancers=wanted.proxy_networks,
        address_limits=AddressLimits(
            connections=wanted.connections_per_address,
            connects_per_s=wanted.connects_per_address_s,
            strangers=wanted.strangers_per_address,
            exempt=wanted.exempt_networks,
        ),
        policy=wanted.policy,
        idle_timeout_s=wanted.idle_timeout_s,
        allowance=Allowance(wanted.terminal_bytes_per_s, wanted.terminal_burst_bytes),
        lobby=LobbyLimits(
            per_link=settings.lobby.per_link,
            per_address_hour=settings.lobby.per_address_hour,
            most=settings.lobby.most,
        ),
        drain_s=wanted.drain_s,
        io_uring=wanted.io_uring,
        max_connections=wanted.max_connections,
        fleet_refresh_s=wanted.fleet_refresh_s,
    )
    directory, limits, pulse = logs_directory(settings) / str(slot), log_limits(settings), Pulse()

    async def serve() -> None:
        stop = _stop_signal()
        with ExitStack() as held:
            writer = LogWriter(directory, limits=limits, is_archived=settings.keeper.archive)
            held.enter_context(closing(writer))
            gateway = Gateway(options, writer, FleetSource(dsn(settings, Process.GATEWAY)))
            pulse.measure(gateway.registry)
            endpoint = Endpoint(
                wanted.health_ports[slot], lambda: pulse.health(gateway.health()), gateway.registry
            )
            held.enter_context(closing(endpoint))
            held.enter_context(pulse.beating())
            if slot == 0:
                held.enter_context(closing(Orphans(settings)))
            await gateway.start()
            await stop.wait()
            await gateway.stop()

    try:
        uvloop.run(serve())
    except CertificateError as error:
        _fail(1, f"gateway.tls_certificate and gateway.tls_key: {error}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(1, f"the gateway cannot work: {where}{error.strerror or error}")
    except LogError as error:
        _fail(1, f"the gateway cannot work: {error}")


def certificate_files(settings: Settings) -> "CertificateFiles | None":
    """Say where the gateway's certificate is, if it has one."""
    from gateway.certificates import CertificateFiles

    wanted = settings.gateway
    if wanted.tls_certificate is None or wanted.tls_key is None:
        return None
    return CertificateFiles(
        certificate=wanted.tls_certificate, key=wanted.tls_key, client_ca=wanted.tls_client_ca
    )


def page_certificate_files(settings: Settings) -> "CertificateFiles | None":
    """Say where the certificate of page and API is, if it has one."""
    from gateway.certificates import CertificateFiles

    wanted = settings.monitor
    if wanted.tls_certificate is None or wanted.tls_key is None:
        return None
    return CertificateFiles(certificate=wanted.tls_certificate, key=wanted.tls_key)


def worker_options(settings: Settings) -> "WorkerOptions":
    """Give the worker's options."""
    from store.quarantine import Limits
    from store.settings import SETTINGS
    from worker.decided import Policies
    from worker.run import WorkerOptions

    configured = {name: _value(settings, name) for name in SETTINGS}
    return WorkerOptions(
        # Until the log says that it holds, so that nothing is judged by other rules in the first seconds.
        Policies().having(configured),
        settings.worker.batch_bytes,
        settings.worker.snapshot_s,
        quarantine=Limits(settings.quarantine.kept_per_hour, settings.quarantine.most_bytes),
        configured=configured,
    )


def _value(settings: Settings, name: str) -> Any:
    group, _, key = name.partition(".")
    return getattr(getattr(settings, group), key)


def run_worker(settings: Settings) -> None:
    """`northwatch worker`: turn the log into facts until SIGTERM or SIGINT."""
    from worker.run import Worker

    prepare()
    options = worker_options(settings)
    worker = Worker(
        options, dsn(settings, Process.WORKER), logs_directory(settings), settings.data_dir / "worker"
    )
    try:
        endpoint = Endpoint(settings.worker.health_port, worker.health, worker.registry)
    except OSError as error:
        _fail(1, f"worker.health_port {settings.worker.health_port} cannot be used: {error.strerror}")
    with closing(endpoint):
        worker.run(stop_event())


def keeper_options(settings: Settings) -> "KeeperOptions":
    """Give the keeper's options."""
    from keeper.options import KeeperOptions

    return KeeperOptions(
        dsn=dsn(settings, Process.KEEPER),
        data_dir=settings.data_dir,
        archive=settings.keeper.archive,
        chunk_bytes=min(CHUNK_BYTES, log_limits(settings).quota_bytes // LEAST_SEGMENTS),
        retention=settings.retention.retention(),
        enrols=settings.gateway.policy == "open",
        forget_after=timedelta(days=settings.lobby.forget_after_days),
        compress_after=timedelta(days=settings.keeper.compress_after_days),
    )


def run_keeper(settings: Settings) -> None:
    """`northwatch keeper`: do the record's chores until SIGTERM or SIGINT."""
    from keeper.chores import CHORES
    from keeper.keeper import Keeper

    prepare()
    if closed := sum(close(path) for path in list(open_to_others(settings.data_dir))):
        echo(f"northwatch: {closed} files and directories were open to others and are not any more")
    keeper = Keeper(keeper_options(settings), CHORES)
    try:
        endpoint = Endpoint(settings.keeper.health_port, keeper.health, keeper.registry)
    except OSError as error:
        _fail(1, f"keeper.health_port {settings.keeper.health_port} cannot be used: {error.strerror}")
    with closing(endpoint):
        keeper.run(stop_event())


def run_events(settings: Settings) -> None:
    """`northwatch events`: tell the broker what happens until SIGTERM or SIGINT."""
    import uvloop

    from northwatch.events.broker import parse
    from northwatch.events.publisher import EventOptions, Publisher

    if settings.mqtt_url is None:
        _fail(2, "mqtt_url is not set: there is no broker to tell")
    prepare()
    wanted = settings.events
    options, pulse = EventOptions(parse(settings.mqtt_url, wanted.ca_file), wanted.prefix), Pulse()

    async def publish() -> None:
        publisher = Publisher(options, dsn(settings, Process.EVENTS))
        pulse.measure(publisher.registry)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, publisher.stop)
        health = Endpoint(wanted.health_port, lambda: pulse.health(publisher.health()), publisher.registry)
        with closing(health), pulse.beating():
            await publisher.run()

    try:
        uvloop.run(publish())
    except OSError as error:
        _fail(1, f"events.health_port {wanted.health_port} cannot be used: {error.strerror}")


def _stop_signal() -> asyncio.Event:
    """Give an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def run_monitor(settings: Settings) -> None:
    """`northwatch monitor`: serve page and API until SIGTERM or SIGINT."""
    import uvloop

    from gateway.certificates import Certificate, CertificateError
    from monitor.app import Alive, create_app
    from monitor.connections import ConnectionLimits, Server
    from monitor.options import MapOptions, MonitorOptions

    prepare()
    wanted = settings.monitor
    options = MonitorOptions(
        database_url=dsn(settings, Process.MONITOR),
        web_dir=wanted.web_dir or _built_page(),
        gateway_url=f"http://127.0.0.1:{settings.gateway.health_port}",
        sibling_urls=tuple(f"http://127.0.0.1:{port}" for port in settings.gateway.health_ports[1:]),
        worker_url=f"http://127.0.0.1:{settings.worker.health_port}",
        data_dir=settings.data_dir,
        keeper_url=f"http://127.0.0.1:{settings.keeper.health_port}",
        events_url=f"http://127.0.0.1:{settings.events.health_port}" if settings.mqtt_url else None,
        version=version("northwatch"),
        quarantine_bytes=settings.quarantine.most_bytes,
        policy=settings.gateway.policy,
        secure_cookie=wanted.secure_cookie,
        is_https=wanted.tls_certificate is not None,
        sign_in_lasts=timedelta(hours=wanted.sign_in_hours),
        second_factor=wanted.second_factor,
        proxies=wanted.proxy_networks,
        scrapers=wanted.metrics_networks,
        trusted_origins=frozenset(wanted.trusted_origins),
        map=MapOptions(wanted.tiles_url, wanted.tiles_attribution, wanted.center, wanted.zoom),
    )
    pulse, files = Pulse(), page_certificate_files(settings)
    try:
        certificate = Certificate(files) if files is not None else None
    except CertificateError as error:
        _fail(1, f"monitor.tls_certificate and monitor.tls_key: {error}")
    server = Server(
        create_app(options, lambda: Alive(ok=not pulse.is_stalled, loop_delay_s=round(pulse.delay_s, 3))),
        ConnectionLimits(
            together=min(wanted.max_connections, possible_connections()),
            per_address=wanted.connections_per_address,
            exempt=wanted.exempt_networks + wanted.proxy_networks,
        ),
        host=wanted.host,
        port=wanted.port,
        certificate=certificate,
    )
    if wanted.is_in_clear:
        echo(f"northwatch: {IN_CLEAR}", is_error=True)

    async def serve() -> None:
        with pulse.beating():
            await server.serve()

    uvloop.run(serve())
    if not server.started:
        raise typer.Exit(1)  # it has said why


def _built_page() -> Path | None:
    """Find the page that `make web` builds; None serves the API alone."""
    built = Path(__file__).parent.parent / "web" / "dist"
    return built if (built / "index.html").exists() else None


def fleet_plan(
    settings: Settings, *, terminals: int, told: bool, seed: int | None, interval_s: float | None
) -> "Plan":
    """Say what `northwatch sim` drives; what the command line leaves open comes from `[demo]`."""
    from northwatch.sim.fleet import Plan
    from northwatch.sim.story import DemoTimes

    demo = settings.demo
    times = DemoTimes(demo.cycle_s, demo.emergency_at_s, demo.silence_at_s, demo.silence_lasts_s)
    return Plan(
        terminals=terminals,
        seed=demo.seed if seed is None else seed,
        report_s=demo.report_s if interval_s is None else interval_s,
        story=times if told else None,
    )
