"""Settings: one TOML file and `NORTHWATCH_…` variables; a variable wins over the file.

The file is the one given by `--config`, else by `NORTHWATCH_CONFIG`, else `northwatch.toml` in the working
directory where it exists. A setting in a group is `[group] name = …` in the file and `NORTHWATCH_GROUP__NAME`
outside it.

A wrong setting stops the start. The error names the key, where the value came from, the value, and what is
allowed: nobody should read a traceback to find a mistyped port.

Errors:
    ConfigError — the settings cannot be used; its text is for the person who wrote them.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from keeper.retention import Retention
from northwatch.events.broker import check_prefix, parse

PREFIX = "NORTHWATCH_"
NESTED = "__"
DEFAULT_FILE = Path("northwatch.toml")
GIB = 1 << 30
MIB = 1 << 20
LEAST_SEGMENTS = 4
"""Of a log: two for what comes, and two that it reserves for its clock."""
LAST_PORT = 65535
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
HEALTH_PORT_STEP = 100
"""Between the health ports of gateway processes, so that they meet those of nobody else."""


def _listed(value: object) -> object:
    """Take one text for a list, with commas or as in the file: a variable holds nothing else, and one without
    text counts as unset.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return tomllib.loads(f"listed = {value}")["listed"]
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f'allowed are a list as ["a", "b"] or [], and a, b ({error})') from None
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _networks(value: object) -> object:
    listed = _listed(value)
    try:
        return tuple(ip_network(each) for each in listed)  # type: ignore[attr-defined]
    except (ValueError, TypeError) as error:
        raise ValueError(f"allowed are networks as 10.0.0.0/8 or 2001:db8::/32 ({error})") from None


Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=366 * 86400)]
Days: TypeAlias = Annotated[float, Field(ge=0, le=36_500)]
Names: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Networks: TypeAlias = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]


class ConfigError(Exception):
    """The settings cannot be used."""


class Group(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DatabaseRoles(Group):
    """For a database server of your own: by what URL each process connects. Make a role for each, and the
    role of `database_url` a member of the keeper's; `northwatch migrate` and `up` give each of them what its
    process needs and no more. Unset: by `database_url`. In the embedded database all this is so by itself."""

    gateway: str | None = None
    """Reads which terminals are known."""
    worker: str | None = None
    """Writes facts."""
    monitor: str | None = None
    """Reads facts; writes what people decide."""
    keeper: str | None = None
    """Owns the table of positions, and lets go of what was kept long enough."""
    events: str | None = None
    """Reads facts, and takes the rows of the outbox."""

    @field_validator("*")
    @classmethod
    def _postgresql(cls, value: str | None) -> str | None:
        return _connection_string(value)


class LogSettings(Group):
    """The local log: what terminals sent, until PostgreSQL and the worker's snapshot have it."""

    quota_bytes: Annotated[int, Field(ge=LEAST_SEGMENTS * MIB)] = 20 * GIB
    """The log holds no more than this. The gateway stops reading two segments before, so that time goes on in
    a full log."""
    free_floor_bytes: Annotated[int, Field(ge=0)] = 1 * GIB
    """… or when the disk has less than this left, because PostgreSQL needs room to catch up."""
    segment_bytes: Annotated[int, Field(ge=1 * MIB, le=1 * GIB)] = 64 * MIB
    """Size of one file of the log."""

    @model_validator(mode="after")
    def _segments_fit(self) -> "LogSettings":
        if self.quota_bytes < LEAST_SEGMENTS * self.segment_bytes:
            raise ValueError("quota_bytes must hold four segments: raise it, or lower segment_bytes")
        return self


class GatewaySettings(Group):
    """Where terminals connect and what they may do."""

    host: Annotated[Names, Field(min_length=1)] = ("0.0.0.0",)
    """Addresses to listen on, one or several; 0.0.0.0 is every IPv4 address of this machine, :: alone every
    address of both kinds."""
    port: Port = 7611
    """TCP port for terminals."""
    tls_port: Port | None = None
    """Port for terminals that speak TLS, 1.2 or newer; unset: none. Needs `tls_certificate` and `tls_key`."""
    tls_certificate: Path | None = None
    """Our certificate and its chain, PEM. It may be replaced while the gateway runs."""
    tls_key: Path | None = None
    """Its key, PEM, without a password."""
    tls_client_ca: Path | None = None
    """If set, only terminals with a certificate signed by one of these (PEM) may connect over TLS."""
    udp_port: Port | None = None
    """UDP port for terminals, which may be the number of `port`; unset: none. A terminal that has not
    authenticated gets no more bytes over UDP than it sent."""
    proxy_networks: Networks = ()
    """Networks of balancers, as 10.0.0.0/8. TCP and TLS connections from there must begin with a header of
    the PROXY protocol, version 1 or 2, and come from the address in it; UDP has none."""
    policy: Literal["open", "known"] = "open"
    """`open`: any terminal may register and report; `known`: only those that a person entered."""
    idle_timeout_s: Seconds = 600.0
    """A link on which nothing was received for so long is closed."""
    terminal_bytes_per_s: Annotated[float, Field(ge=1024)] = 1 * MIB
    """A terminal that sends more for long is read more slowly, and nothing is lost. A link with several
    terminals may bring more."""
    terminal_burst_bytes: Annotated[float, Field(ge=64 * 1024)] = 8 * MIB
    """So much it may send at once."""
    drain_s: Annotated[float, Field(ge=0, le=15)] = 10.0
    """A stop closes the links over so long, so that not all terminals come back at one moment. `up` kills who
    has not stopped after 20."""
    max_connections: Annotated[int, Field(ge=1)] = 100_000
    """More links than this are refused; the operating system's limit of open files counts as well."""
    connections_per_address: Annotated[int, Field(ge=1)] = 20_000
    """One address may have so many links: a carrier may put a whole fleet behind one."""
    connects_per_address_s: Annotated[float, Field(gt=0)] = 100.0
    """One address may open so many links a second, and those of ten seconds at once."""
    strangers_per_address: Annotated[int, Field(ge=1)] = 2_000
    """One address may have so many links that have proved nothing: no terminal has authenticated, or, with
    policy `open`, no valid frame has come. With more, the oldest that is silent is closed for the newest."""
    exempt_networks: Networks = LOOPBACK
    """No limits for each address apply there: this machine, or the address of a private APN; `[]` for nobody.
    `proxy_networks` are exempt too, but nobody is by what a header of theirs says."""
    io_uring: Literal["auto", "on", "off"] = "auto"
    """Whether many connections are read and written with one system call: `auto` where Linux has it for us,
    `on` else does not start, `off` never. Answers are the same, at some more of the processor."""
    fleet_refresh_s: Seconds = 5.0
    """How often the copy of known and blocked terminals is refreshed from the database."""
    processes: Annotated[int, Field(ge=1, le=32)] = 1
    """So many processes share the ports, each with a log of its own, and the limits that follow a link or an
    address hold in each of them. About one for each processor core that terminals may use."""
    health_port: Port = 9611
    """`/healthz` and `/metrics`, on the loopback interface only. The second process has the port 100 higher,
    the third 200, and so on."""

    @property
    def health_ports(self) -> list[int]:
        """The health port of every process."""
        return [self.health_port + HEALTH_PORT_STEP * slot for slot in range(self.processes)]


class LobbySettings(Group):
    """How many terminals may come by themselves that nobody entered. Those that a person enters, imports or
    accepts are never counted; `northwatch lobby open` lets many come for some hours."""

    per_link: Annotated[int, Field(ge=1)] = 200
    """One link may bring so many new ones in an hour. A terminal has one for itself; a platform may forward
    many."""
    per_address_hour: Annotated[int, Field(ge=1)] = 1_000
    """One address may bring so many in an hour: a carrier may put a fleet behind one. This and `per_link`
    do not apply in `gateway.exempt_networks`; with several gateway processes they hold in each of them."""
    most: Annotated[int, Field(ge=1)] = 20_000
    """So many may wait to be accepted, whatever they have authenticated. From there on new ones are refused,
    until some are accepted, or forgotten."""
    forget_after_days: Annotated[float, Field(gt=0, le=3650)] = 7
    """Who waits to be accepted and was not heard for so long is forgotten, and makes room: a vehicle that is
    tried stands still for a weekend, not for a week. What it said is kept as long as all else."""


class WorkerSettings(Group):
    """From the log to facts."""

    batch_bytes: Annotated[int, Field(ge=4096, le=64 * MIB)] = 4 * MIB
    """About so much of the log goes into one transaction."""
    snapshot_s: Seconds = 5.0
    """How often at most the worker's state is kept in a file, so that a start need not read far back. A large
    state is kept less often, so that it writes little more than the log does: up to sixty times this."""
    media_bytes_per_day: Annotated[int, Field(ge=MIB)] = 1024 * MIB
    """So many bytes of pictures, sounds and videos are stored of one terminal in a day, twice what four
    cameras send with a picture a minute each. What is more goes to quarantine, so that no one terminal fills
    the disk of all."""
    health_port: Port = 9612
    """`/healthz` and `/metrics`, on the loopback interface only."""


class KeeperSettings(Group):
    """Upkeep of the record: retention, compression, the archive."""

    compress_after_days: Annotated[float, Field(ge=1, le=3650)] = 7
    """A day of positions is compressed when it has been over for so long, where TimescaleDB can."""
    archive: bool = True
    """What terminals sent is kept as received, compressed and provable (`northwatch verify`), after the log
    has let go of it."""
    health_port: Port = 9613
    """`/healthz` and `/metrics`, on the loopback interface only."""


class EventSettings(Group):
    """Alarms, links and tickets to an MQTT broker (`mqtt_url`); topics and payloads are in docs/mqtt.md."""

    prefix: str = "northwatch"
    """Every topic begins with it. Two installations on one broker need two of them."""
    ca_file: Path | None = None
    """Certificates (PEM) by which a broker under mqtts://… is trusted; unset: those of the system."""
    health_port: Port = 9614
    """`/healthz` and `/metrics`, on the loopback interface only."""

    @field_validator("prefix")
    @classmethod
    def _begins_topics(cls, value: str) -> str:
        return check_prefix(value)

    @field_validator("ca_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.expanduser().is_file():
            raise ValueError("there is no such file")
        return value.expanduser().absolute() if value is not None else None


class RetentionSettings(Group):
    """How long what is kept. The law sets floors, and a legal hold (`northwatch hold`) keeps longer."""

    tracks_days: Days = 400
    """Positions, messages, link events, quarantine and the archive of raw frames; at least 184 days."""
    handling_days: Days = 4 * 365 + 1
    """Alarms and tickets, and what was done about them; at least 1,096 days."""

    @field_validator("tracks_days")
    @classmethod
    def _lawful_tracks(cls, value: float) -> float:
        Retention(tracks=timedelta(days=value))
        return value

    @field_validator("handling_days")
    @classmethod
    def _lawful_handling(cls, value: float) -> float:
        Retention(handling=timedelta(days=value))
        return value

    def retention(self) -> Retention:
        """Give what the keeper goes by."""
        return Retention(timedelta(days=self.tracks_days), timedelta(days=self.handling_days))


class QuarantineSettings(Group):
    """How much is kept of what could not be used. The rest is counted; its bytes are in the archive."""

    kept_per_hour: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Of each terminal and reason so much is kept in an hour: what is wrong shows in a few."""
    most_bytes: Annotated[int, Field(ge=MIB)] = 1024 * MIB
    """Quarantine does not become larger; from there on everything is only counted, until somebody deletes
    some of it or its time is over."""


class SilenceSettings(Group):
    """When a terminal that says nothing should have said something, and when that becomes a repair ticket."""

    moving_s: Seconds = 300.0
    """Silence allowed while the vehicle moves or its ignition is on."""
    parked_s: Seconds = 3600.0
    """… with the ignition off."""
    asleep_s: Seconds = 26 * 3600.0
    """… when item 0x2A said that the terminal sleeps: one report a day and some grace."""
    dwell_s: Annotated[float, Field(ge=0)] = 1800.0
    """A ticket opens when the silence has lasted so much longer than allowed."""
    mass_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """More than this share of the fleet falling silent together is one incident, not many tickets …"""
    mass_least: Annotated[int, Field(ge=2)] = 10
    """… if they are at least so many …"""
    mass_window_s: Seconds = 600.0
    """… within this time."""
    proof_reports: Annotated[int, Field(ge=1)] = 5
    """So many good location reports prove a repair and close the ticket;"""
    proof_s: Seconds = 600.0
    """so does talking on for so long."""


class MonitorSettings(Group):
    """The web page and the API."""

    host: str = "0.0.0.0"
    """Address to listen on; 127.0.0.1 where a proxy on this machine stands in front."""
    port: Port = 8080
    """Port of page and API: HTTPS with `tls_certificate`, else HTTP."""
    tls_certificate: Path | None = None
    """Our certificate and its chain, PEM. It may be replaced while the monitor runs. Without it, and without
    a proxy that has one, passwords cross the network in clear."""
    tls_key: Path | None = None
    """Its key, PEM, without a password."""
    max_connections: Annotated[int, Field(ge=16)] = 4_000
    """Where there are more, the one that has been silent for longest is closed; the operating system's limit
    of open files counts as well."""
    connections_per_address: Annotated[int, Field(ge=16)] = 500
    """One address may have so many; a browser has up to seven, and people behind one router share an address.
    An address of IPv6 is its /64."""
    exempt_networks: Networks = LOOPBACK
    """`connections_per_address` does not apply there: this machine; nor does it to `proxy_networks`."""
    proxy_networks: Networks = ()
    """Networks of proxies in front, as 127.0.0.1/32. Only they are believed when they say by
    `X-Forwarded-For`, `X-Forwarded-Proto` or `Forwarded` whose request they pass on; limits and audit then go
    by that address. A proxy that is not named here makes everybody come from its own address."""
    metrics_networks: Networks = LOOPBACK
    """From where `/metrics` of the web port may be read: it tells how large the fleet is and how it fares."""
    secure_cookie: bool = False
    """Pages reach us by HTTPS only: the session cookie is sent so, and a page of http://… changes nothing.
    Set it when a proxy with a certificate stands in front; with `tls_certificate` it is so
    anyway."""
    sign_in_hours: Annotated[float, Field(gt=0, le=24 * 31)] = 12.0
    """A sign-in lasts one shift and ends then, however much it is used; the page says so a quarter of an hour
    before, and keeps what was begun for whoever signs in again."""
    second_factor: Literal["off", "optional", "administrators", "all"] = "optional"
    """Codes of an authenticator (TOTP) besides the password: nobody's; whoever wants to; administrators and
    whoever wants to; everybody. Who needs one and has none can do nothing but set it up."""
    trusted_origins: Names = ()
    """Origins besides our own, as https://desk.example, whose pages may change things."""
    web_dir: Path | None = None
    """The built page; unset: the one of this installation."""
    tiles_url: str | None = None
    """Map tiles as https://…/{z}/{x}/{y}…; unset: the built-in map of land and water."""
    tiles_attribution: str = ""
    """What the map must say about whose tiles these are."""
    center: tuple[Annotated[float, Field(ge=-180, le=180)], Annotated[float, Field(ge=-90, le=90)]] = (
        122.6,
        41.3,
    )
    """Longitude and latitude with which the map begins."""
    zoom: Annotated[float, Field(ge=0, le=22)] = 6.5
    """Zoom with which the map begins."""

    @property
    def is_in_clear(self) -> bool:
        """Passwords cross a network in clear, for all that we know."""
        return self.tls_certificate is None and not self.secure_cookie and not _is_loopback(self.host)


class DemoSettings(Group):
    """The story that `up --demo` tells, in cycles, and its short thresholds of silence; a threshold that is
    set in `[silence]` wins.
    """

    seed: int = 1
    """Same seed, same fleet and same story."""
    report_s: Seconds = 3.0
    """A moving vehicle reports so often."""
    cycle_s: Annotated[float, Field(ge=30)] = 150.0
    """The story begins again, with other actors, after so long."""
    emergency_at_s: Annotated[float, Field(ge=0)] = 20.0
    """A driver presses the button so long after the start of each cycle."""
    silence_at_s: Annotated[float, Field(ge=0)] = 30.0
    """A terminal falls silent so long after the start of each cycle …"""
    silence_lasts_s: Seconds = 70.0
    """… and for so long."""
    moving_s: Seconds = 25.0
    """`silence.moving_s` of the demo."""
    parked_s: Seconds = 60.0
    """`silence.parked_s` of the demo."""
    asleep_s: Seconds = 120.0
    """`silence.asleep_s` of the demo."""
    dwell_s: Annotated[float, Field(ge=0)] = 15.0
    """`silence.dwell_s` of the demo."""


class Settings(BaseSettings):
    """All settings of one installation."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=NESTED,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    data_dir: Path = Path("data")
    """Log, embedded database, worker snapshots and the secret of the authentication codes."""
    database_url: str | None = None
    """`postgresql://…`; unset: the embedded PostgreSQL in the data directory."""
    log_url: str | None = None
    """Kept for a log outside this machine, which this version cannot use yet."""
    mqtt_url: str | None = None
    """`mqtt://user:password@host:port`, or `mqtts://…` for TLS: a broker that is told of alarms, links and
    tickets; unset: nobody is."""
    database_roles: DatabaseRoles = DatabaseRoles()
    log: LogSettings = LogSettings()
    gateway: GatewaySettings = GatewaySettings()
    lobby: LobbySettings = LobbySettings()
    worker: WorkerSettings = WorkerSettings()
    keeper: KeeperSettings = KeeperSettings()
    retention: RetentionSettings = RetentionSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    events: EventSettings = EventSettings()
    silence: SilenceSettings = SilenceSettings()
    monitor: MonitorSettings = MonitorSettings()
    demo: DemoSettings = DemoSettings()

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        place = value.expanduser().absolute()
        # Path.exists() raises where we may not look.
        found = next(each for each in (place, *place.parents) if os.path.exists(each))  # noqa: PTH110
        if not found.is_dir():
            raise ValueError(f"{found} is no directory")
        return place

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: str | None) -> str | None:
        return _connection_string(value)

    @model_validator(mode="after")
    def _roles_have_a_server(self) -> "Settings":
        if self.database_url is None and self.database_roles != DatabaseRoles():
            raise ValueError("database_roles are for a server of your own: set database_url")
        return self

    @field_validator("log_url")
    @classmethod
    def _local_log(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("this version keeps its log in local files only; leave it unset")
        return value

    @field_validator("mqtt_url")
    @classmethod
    def _broker(cls, value: str | None) -> str | None:
        if value is not None:
            parse(value)
        return value

    @model_validator(mode="after")
    def _ports_differ(self) -> "Settings":
        ports = {
            "gateway.port": self.gateway.port,
            "gateway.tls_port": self.gateway.tls_port,
            **{
                f"gateway.health_port{'' if not slot else f' of process {slot}'}": port
                for slot, port in enumerate(self.gateway.health_ports)
            },
            "worker.health_port": self.worker.health_port,
            "keeper.health_port": self.keeper.health_port,
            "events.health_port": self.events.health_port,
            "monitor.port": self.monitor.port,
        }
        seen: dict[int, str] = {}
        for key, port in ports.items():
            if port is None:
                continue
            if port > LAST_PORT:
                raise ValueError(f"{key} would be {port}; the last port is {LAST_PORT}")
            if port in seen:
                raise ValueError(f"{key} and {seen[port]} are both {port}; each needs a port of its own")
            seen[port] = key
        return self

    @model_validator(mode="after")
    def _logs_fit(self) -> "Settings":
        processes = self.gateway.processes
        if self.log.quota_bytes < LEAST_SEGMENTS * self.log.segment_bytes * processes:
            raise ValueError(
                f"log.quota_bytes must hold four segments of each of the {processes} gateway processes:"
                " raise it, or lower log.segment_bytes"
            )
        return self

    @model_validator(mode="after")
    def _tls_is_complete(self) -> "Settings":
        wanted = self.gateway
        if wanted.tls_port is None:
            for name in ("tls_certificate", "tls_key", "tls_client_ca"):
                if value := getattr(wanted, name):
                    raise ValueError(
                        f"gateway.{name} = '{value}': is for gateway.tls_port; set it, 7612 for example"
                    )
        for name in ("tls_certificate", "tls_key"):
            if wanted.tls_port is not None and getattr(wanted, name) is None:
                raise ValueError(
                    f"gateway.tls_port = {wanted.tls_port}: needs gateway.{name}, a file in PEM format"
                )
        if (self.monitor.tls_certificate is None) != (self.monitor.tls_key is None):
            raise ValueError("monitor.tls_certificate and monitor.tls_key: one needs the other")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The file arrives as init arguments (`load` has read it), and the environment wins over it.
        return env_settings, init_settings


def load(config: Path | None = None) -> Settings:
    """Read the settings.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown, or a value is not allowed.
    """
    env = os.environ
    path = _file(config, env)
    table = _read(path) if path else {}
    _refuse_unknown_variables(env)
    try:
        return Settings(**table)
    except ValidationError as wrong:
        lines = [_explain(error, env, path) for error in wrong.errors()]
        raise ConfigError("\n".join(lines)) from None


def _file(config: Path | None, env: Mapping[str, str]) -> Path | None:
    if config is not None:
        return config
    if named := env.get(f"{PREFIX}CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no TOML: {error}") from None


def _refuse_unknown_variables(env: Mapping[str, str]) -> None:
    """Refuse `NORTHWATCH_GROUP__NAME` whose group does not exist.

    Unknown names without `__` are left alone: container platforms inject NORTHWATCH_PORT and the like for a
    service of that name.
    """
    groups = {name for name, field in Settings.model_fields.items() if _is_group(field.annotation)}
    for variable in sorted(env):
        if not variable.upper().startswith(PREFIX):
            continue
        group, *rest = variable[len(PREFIX) :].lower().split(NESTED)
        if rest and group not in groups:
            raise ConfigError(f"{variable}: there is no group {group!r}; {_known(group, sorted(groups))}")
        if not rest and group in groups:
            names = ", ".join(f"{variable}{NESTED}{name.upper()}" for name in _names([group]))
            raise ConfigError(f"{variable}: is a group; allowed are {names}")


def _connection_string(value: str | None) -> str | None:
    if value is None:
        return None
    from psycopg import ProgrammingError, conninfo

    try:
        conninfo.conninfo_to_dict(value)
    except ProgrammingError as error:
        raise ValueError(
            "allowed is postgresql://user:password@host:port/database, or nothing for the embedded one"
            f" ({without_password(str(error)).strip()})"
        ) from None
    return value


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_group(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Group)


def _explain(error: ErrorDetails, env: Mapping[str, str], path: Path | None) -> str:
    keys = [str(part) for part in error["loc"]]
    key = ".".join(keys)
    if not keys:
        return error["msg"].removeprefix("Value error, ")
    variable = PREFIX + NESTED.join(keys).upper()
    source = variable if variable in {name.upper() for name in env} else str(path or "")
    place = f"{key} ({source})" if source else key
    if error["type"] == "extra_forbidden":
        return f"{place}: there is no such setting; {_known(keys[-1], _names(keys[:-1]))}"
    value = without_password(str(error["input"]))
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{place} = {value!r}: {message}"


def _names(keys: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for key in keys:
        field = model.model_fields.get(key)
        if (
            field is None
            or not isinstance(field.annotation, type)
            or not issubclass(field.annotation, BaseModel)
        ):
            return []
        model = field.annotation
    return list(model.model_fields)


def _known(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"


def without_password(url: str) -> str:
    """Give `url` as it may be shown."""
    return re.sub(r"(://[^/:@]*):\S*@|(password=)('[^']*'|\S*)", _masked, url)


def _masked(found: re.Match[str]) -> str:
    return f"{found[1]}:…@" if found[1] is not None else f"{found[2]}…"
