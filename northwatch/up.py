"""`northwatch up`: everything on one machine, from one command.

Start: the gateway first, because terminals should be answered whatever else is wrong; then the database (the
embedded one unless a URL is given), its migrations and the first administrator; then worker, keeper and
monitor; last the demo's fleet. Stop: fleet, gateway (which answers what is durable), worker, keeper, monitor,
database.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psycopg
from rich.panel import Panel
from rich.text import Text

from northwatch import gateways, supervisor, wiring
from northwatch.config import GatewaySettings, MonitorSettings, Settings, without_password
from northwatch.process import stop_event
from northwatch.screen import Screen
from northwatch.supervisor import Backoff, Child, Journal, Supervisor
from store import schema
from store.embedded import Embedded, EmbeddedError

STOP_ORDER = ("sim", "gateway", "worker", "keeper", "events", "monitor")
DATABASE_POLL_S = 1.0
STAYS_AWAY = (
    "The gateway goes on: terminals are answered, and the log keeps what they send. Nothing else is started"
    " until this is put right and Northwatch is started again."
)
CONNECT_TIMEOUT_S = 0.5


class Database:
    """The database in a thread of its own: brought up, migrated, and brought up again when it dies."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self._embedded = None if settings.database_url else Embedded(wiring.database_directory(settings))
        self._dsn = wiring.dsn(settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="database", daemon=True)
        self.ready = threading.Event()
        """It was migrated once; whether it answers now is for its users to find out."""
        self.hopeless = ""
        """Why it will never be ready, until a person does something; empty otherwise."""
        self.first_password: str | None = None
        """Set when this start created the first administrator."""

    def __enter__(self) -> "Database":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._embedded is not None:
            self._embedded.stop()

    def _run(self) -> None:
        backoff = Backoff()
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                self._bring_up()
                self._guard()
            except (schema.Drift, schema.NewerSchema) as error:  # trying again will not change it
                self.hopeless = f"{error}\n{STAYS_AWAY}"
                self._say(self.hopeless)
                self._stop.wait()
            except (EmbeddedError, schema.SchemaError, psycopg.Error, OSError) as error:
                wait_s = backoff.after(time.monotonic() - begun)
                self._say(f"{without_password(str(error)).strip()}\nnext attempt in {wait_s:.0f} s")
                self._stop.wait(wait_s)

    def _bring_up(self) -> None:
        if self._embedded is not None and not self._embedded.is_running():
            self._say("embedded PostgreSQL starts")
            self._embedded.start()
        if self.ready.is_set():
            return
        with psycopg.connect(self._dsn, connect_timeout=10) as connection:
            for migration in wiring.bring_up_to_date(self._settings, connection):
                self._say(f"migration {migration.number:04} {migration.name} applied")
            if lacking := wiring.lacks_history(self._settings, connection):
                self._say(lacking)
        wiring.forget_broker(self._settings)
        self.first_password = wiring.first_admin(self._settings) or self.first_password
        self.ready.set()

    def _guard(self) -> None:
        """Return when the embedded server is gone or we are to stop. An external one is somebody else's to
        guard."""
        while not self._stop.wait(DATABASE_POLL_S):
            if self._embedded is not None and not self._embedded.is_running():
                self._say("embedded PostgreSQL is gone")
                return

    def _say(self, text: str) -> None:
        for line in text.splitlines():
            self._journal.say("database", line)


class Up:
    """One run of `northwatch up`."""

    def __init__(self, settings: Settings, config: Path | None, demo: int | None) -> None:
        self.settings = settings
        self._options = ["--config", str(config)] if config else []
        self._demo = demo
        self._console = Screen(soft_wrap=True)
        self._journal = Journal(self._console)
        self._supervisor = Supervisor(self._journal)
        self._environ = {**os.environ, **(_demo_environ(settings) if demo else {})}
        self._welcomed = False

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, and give the exit code: 1 where the database could not be used at all.

        Raises:
            AlreadyRunning: in this data directory.
            PortTaken: something else listens on one of our ports.
        """
        stop = stop_event()
        with supervisor.lock(self.settings.data_dir):
            supervisor.await_orphans(self._journal)
            self._require_ports()
            with Database(self.settings, self._journal) as database:
                gateways.start(self._supervisor, self.settings, self._options, self._environ)
                self._supervisor.watch(lambda: self._go_on(database))
                self._supervisor.run(stop)
                self._journal.say("up", "stopping")
                self._supervisor.stop(STOP_ORDER)
        self._journal.say("up", "stopped")
        return 1 if database.hopeless else 0

    def _go_on(self, database: Database) -> None:
        """Start what has waited, as soon as it can work."""
        started = {child.name for child in self._supervisor.children}
        if database.ready.is_set() and "worker" not in started:
            self._start("worker")
            self._start("keeper")
            if self.settings.mqtt_url:
                self._start("events")
            self._start("monitor")
        if self._demo and "sim" not in started and self._answers(self.settings.gateway):
            host = _reachable(self.settings.gateway.host[0])
            self._start("sim", "--terminals", str(self._demo), "--host", host, "--scenario", "demo")
        if "monitor" in started and not self._welcomed and self._answers(self.settings.monitor):
            self._welcomed = True
            self._console.print(_welcome(self.settings, database.first_password, self._demo))

    def _start(self, name: str, *arguments: str) -> Child:
        command: Sequence[str] = [sys.executable, "-m", "northwatch", name, *self._options, *arguments]
        return self._supervisor.add(name, command, self._environ)

    def _answers(self, listener: GatewaySettings | MonitorSettings) -> bool:
        host = listener.host if isinstance(listener.host, str) else listener.host[0]
        try:
            with socket.create_connection((_reachable(host), listener.port), CONNECT_TIMEOUT_S):
                return True
        except OSError:
            return False

    def _require_ports(self) -> None:
        monitor = self.settings.monitor
        gateways.require_ports(self.settings)
        supervisor.require_free(monitor.host, monitor.port, "monitor.port")
        for name in ("worker", "keeper", *(["events"] if self.settings.mqtt_url else [])):
            port = getattr(self.settings, name).health_port
            supervisor.require_free("127.0.0.1", port, f"{name}.health_port")


def _reachable(host: str) -> str:
    """Give an address of this machine under which one that listens on `host` is found."""
    return "localhost" if host in ("0.0.0.0", "::", "") else host


def _terminal_ports(gateway: GatewaySettings) -> str:
    """Say where terminals connect."""
    ports = {"TCP": gateway.port, "TLS": gateway.tls_port, "UDP": gateway.udp_port}
    return ", ".join(f"port {port} {name}" for name, port in ports.items() if port is not None)


def _demo_environ(settings: Settings) -> dict[str, str]:
    """Give the demo's short thresholds of silence, where nobody has set others."""
    demo = settings.demo
    thresholds = {
        "moving_s": demo.moving_s,
        "parked_s": demo.parked_s,
        "asleep_s": demo.asleep_s,
        "dwell_s": demo.dwell_s,
    }
    chosen = settings.silence.model_fields_set
    return {
        f"NORTHWATCH_SILENCE__{name.upper()}": str(v) for name, v in thresholds.items() if name not in chosen
    }


def _welcome(settings: Settings, password: str | None, demo: int | None) -> Panel:
    monitor = settings.monitor
    scheme = "https" if monitor.tls_certificate else "http"
    rows = [
        ("web page", f"{scheme}://{_reachable(monitor.host)}:{monitor.port}"),
        ("user", "admin" if password else "as before; `northwatch user password NAME` sets a new password"),
        ("password", f"{password}   (shown this once)" if password else ""),
        ("", "the page asks for one of your own when you first sign in" if password else ""),
        ("in clear", "passwords and the page cross the network so" if monitor.is_in_clear else ""),
        ("", "set monitor.tls_certificate, or put a proxy that has one" if monitor.is_in_clear else ""),
        ("", "in front (docs/security.md)" if monitor.is_in_clear else ""),
        ("terminals", _terminal_ports(settings.gateway)),
        ("demo fleet", f"{demo} vehicles around Liaoning" if demo else ""),
        ("data", str(settings.data_dir)),
        ("stop", "Ctrl-C"),
    ]
    text = Text("\n").join(Text.assemble((f"{name:<11}", "bold"), value) for name, value in rows if value)
    return Panel(text, title="Northwatch 北斗值守", expand=False, padding=(1, 2), border_style="green")
