"""`northwatch doctor`: what is in use, what is wrong, and what to do about it.

It changes nothing, and starts the embedded database only for the look when nothing else runs it.
"""

import json
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from rich.table import Table

from gateway.certificates import (
    EXPIRES_SOON_DAYS,
    CertificateError,
    CertificateFiles,
    expiry,
    load,
)
from northwatch import gateways
from northwatch.config import Settings, without_password
from northwatch.modes import open_to_others
from northwatch.record_report import tell
from northwatch.screen import Screen
from northwatch.times import shown
from northwatch.wiring import (
    IN_CLEAR,
    certificate_files,
    database_directory,
    logs_directory,
    page_certificate_files,
    roles,
)
from store import archive, damage, heads, schema, survey
from store.embedded import MAJOR, Embedded, EmbeddedError, OlderDatabase
from store.grants import Process
from store.log import FIRST, LogError, LogReader, skips_in
from store.merge import logs_in

ANSWER_TIMEOUT_S = 3
OLDEST_SERVER = 150000
"""PostgreSQL 15; the SQL is tested from there on."""
CONNECT_TIMEOUT_S = 5
DATABASE_PATIENCE_S = 15.0
"""An embedded server that we start for the look, and that recovers from a crash, usually needs less."""
GIB = 1 << 30
SHOWN = 3
"""Of many files so many are named."""
ARCHIVE_BEHIND = 0.1
"""A share of log.quota_bytes: of the default of 20 GiB that is thirty chunks of the archive."""

LOST_DATABASE = (
    "If a database was lost or is another one now: restore its backup (docs/backup.md), or correct"
    " database_url. What was sent is in the archive: `northwatch frames` prints it."
)
DUMP_AND_RESTORE = (
    "Stop Northwatch. With the programs of PostgreSQL {found}: start it on {directory},"
    " run `pg_dump -Fc -f old.dump northwatch`, stop it. Move the directory away, start this Northwatch once"
    " to make a new one, run `pg_restore --clean --if-exists -d northwatch old.dump`. The gateway alone"
    " (`northwatch gateway`) keeps what terminals send meanwhile."
)


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do."""

    what: str
    do: str


@dataclass
class Findings:
    """What was found, in the order of looking."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def fact(self, name: str, value: object) -> None:
        self.facts.append((name, str(value)))

    def problem(self, what: str, do: str) -> None:
        self.problems.append(Problem(what, do))


def examine(settings: Settings) -> int:
    """Print the findings and give the exit code: 0 when nothing is wrong, else 1."""
    found = Findings()
    found.fact("data directory", settings.data_dir)
    _look_at_disk(settings, found)
    _look_at_modes(settings, found)
    logs = _look_at_logs(settings, found)
    _look_at_archive(settings, found, logs)
    _look_at_database(settings, found, logs)
    _look_at_certificate("gateway", certificate_files(settings), found)
    _look_at_certificate("monitor", page_certificate_files(settings), found)
    if settings.monitor.is_in_clear:
        found.fact("page", IN_CLEAR)
    _look_at_processes(settings, found, logs)
    _print(found)
    return 1 if found.problems else 0


def _look_at_disk(settings: Settings, found: Findings) -> None:
    directory = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists())
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    found.fact("disk free", f"{free / GIB:.1f} GiB")
    if free < settings.log.free_floor_bytes:
        found.problem(
            f"The disk has {free / GIB:.1f} GiB left, less than log.free_floor_bytes.",
            "Free disk space: the gateway stops reading.",
        )


def _look_at_modes(settings: Settings, found: Findings) -> None:
    opened = [str(path) for path in open_to_others(settings.data_dir)]
    if opened:
        found.problem(
            f"{len(opened)} files and directories are open to other users of this machine: "
            + ", ".join(opened[:SHOWN])
            + (" …" if len(opened) > SHOWN else ""),
            f"The next start of the keeper closes them. By hand: `chmod -R o-rwx,g-w {settings.data_dir}`.",
        )


def _look_at_logs(settings: Settings, found: Findings) -> list[LogReader]:
    directory = logs_directory(settings)
    logs: list[LogReader] = []
    for slot, path in logs_in(directory).items():
        is_orphan = slot >= settings.gateway.processes
        try:
            log = LogReader(path, slot=slot)
            _look_for_damage(log, settings, found)
            said = f"{log.log_id}, positions {log.start} to {log.head()}"
            found.fact(f"log {slot}", said + (", of no process any more" if is_orphan else ""))
        except LogError as error:
            found.problem(f"The log cannot be read: {error}", "See docs/architecture.md, the log.")
        else:
            logs.append(log)
    if not logs:
        found.fact("log", "none yet: no gateway has run here")
        return logs
    used = sum(path.stat().st_size for path in directory.glob("**/*.seg"))
    found.fact("log size", f"{used / GIB:.2f} of {settings.log.quota_bytes / GIB:.0f} GiB")
    if used >= settings.log.quota_bytes:
        found.problem(
            "The log has reached log.quota_bytes: the gateway stops reading and terminals keep their data.",
            "Let the worker catch up (is the database well?), or raise log.quota_bytes.",
        )
    return logs


def _look_for_damage(log: LogReader, settings: Settings, found: Findings) -> None:
    slot = log.name.slot
    try:
        damaged = damage.find(log, is_archived=settings.keeper.archive)
    except (LogError, OSError) as error:
        found.problem(f"Log {slot} cannot be read: {error}", "See docs/architecture.md, the log.")
        return
    if damaged is not None:
        size = damaged.end - damaged.begin
        found.problem(
            f"Log {slot}: {damaged.what}, {size} bytes. Terminals are answered; worker and archive wait"
            " before it.",
            "`northwatch log` shows it, `northwatch log skip` keeps these bytes apart and goes on.",
        )
    for each in skips_in(log.directory):
        if not each.seen_by:
            found.problem(
                f"{each.end - each.begin} damaged bytes of log {slot} at position {each.begin} were skipped"
                f" at {shown(each.at)} by {each.by}, and are kept in {damage.DIRECTORY}/{each.kept}.",
                "`northwatch log seen` takes note of it.",
            )


def _look_at_archive(settings: Settings, found: Findings, logs: list[LogReader]) -> None:
    directory = settings.data_dir / "archive"
    days = archive.days(directory)
    if not settings.keeper.archive:
        found.fact("archive", "off (keeper.archive): logs are deleted when they are consumed")
        return
    size = sum(path.stat().st_size for path in directory.glob("*/*.nwa"))
    found.fact("archive", f"{days[0]} to {days[-1]}, {size / GIB:.2f} GiB" if days else "none yet")
    for aside in heads.set_aside(heads.backwards(heads.lines(directory / heads.FILE_NAME))):
        found.fact("", f"chunk {aside.chunk} of {aside.day} is set aside, whole and unsorted: {aside.cause}")
    waiting = sum(max(0, log.consumed() - max(log.archived(), log.start)) for log in logs)
    if waiting > ARCHIVE_BEHIND * settings.log.quota_bytes:
        found.problem(
            f"The archive is {waiting / GIB:.1f} GiB behind the worker; the log grows until it is full.",
            "See why the keeper does not seal (its health, its messages), or set keeper.archive = false.",
        )


def _look_at_database(settings: Settings, found: Findings, logs: list[LogReader]) -> None:
    """Look, for no longer than `DATABASE_PATIENCE_S`: a server that is frozen accepts and says nothing."""
    seen = Findings()
    look = threading.Thread(target=_examine_database, args=(settings, seen, logs), daemon=True)
    look.start()
    look.join(DATABASE_PATIENCE_S)
    found.facts += seen.facts
    found.problems += seen.problems
    if look.is_alive():
        found.problem(
            f"The database does not answer within {DATABASE_PATIENCE_S:.0f} s.",
            "Reports are answered meanwhile and kept in the log. Is the server stopped, or its disk?",
        )


def _examine_database(settings: Settings, found: Findings, logs: list[LogReader]) -> None:
    url = settings.database_url
    embedded = None if url else Embedded(database_directory(settings))
    found.fact("database", without_password(url) if url else f"embedded, {database_directory(settings)}")
    started_by_us = False
    try:
        if embedded is not None:
            if not (embedded.directory / "PG_VERSION").exists():
                found.fact("PostgreSQL", f"none yet; `northwatch up` makes one of version {MAJOR}")
                return
            started_by_us = not embedded.is_running()
            if started_by_us:
                embedded.start()
        conninfo = url or (embedded.dsn() if embedded else "")
        with psycopg.connect(conninfo, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            _look_at_server(connection, found)
            _look_at_roles(settings, found)
            if _look_at_schema(connection, settings, found, logs):
                _look_at_record(connection, settings, found)
    except OlderDatabase as older:
        advice = DUMP_AND_RESTORE.format(found=older.found, directory=older.directory)
        found.problem(f"The embedded database is of PostgreSQL {older.found}, this brings {MAJOR}.", advice)
    except (EmbeddedError, OSError, psycopg.Error) as error:
        do = "Reports are answered meanwhile and kept in the log. Repair the server or correct database_url."
        found.problem(f"The database cannot be used: {without_password(str(error)).strip()}", do)
    finally:
        if embedded is not None and started_by_us:
            embedded.stop()


def _look_at_server(connection: psycopg.Connection[Any], found: Findings) -> None:
    server = survey.server(connection)
    found.fact("PostgreSQL", f"{server.version}, {server.size_bytes / GIB:.2f} GiB in this database")
    if server.version_number < OLDEST_SERVER:
        found.problem(f"PostgreSQL {server.version} is too old.", "Use PostgreSQL 15 or newer.")
    if server.is_read_only:
        found.problem("The database is read-only.", "Point database_url at the primary server.")
    if server.timescaledb is not None:
        edition = server.timescaledb_license or "?"
        found.fact("TimescaleDB", f"{server.timescaledb}, licence {edition}: positions are a hypertable")
        if edition == "apache":
            found.fact(
                "", "compression and continuous aggregates need the edition under the Timescale licence"
            )
        return
    found.fact("TimescaleDB", f"not in use: positions are divided into {server.partitions} native partitions")
    if server.timescaledb_available is not None:
        found.fact("", f"the server offers {server.timescaledb_available}; only a new database would use it")


def _look_at_roles(settings: Settings, found: Findings) -> None:
    own = [process.value for process in roles(settings)]
    others = [process.value for process in Process if process not in own]
    if not others:
        found.fact("database roles", "each process has one of its own")
    else:
        shared = ", ".join(others) if own else "all processes"
        found.fact(
            "database roles",
            f"{shared} connect as the owner of all tables, who may do everything; see [database_roles]",
        )


def _look_at_schema(
    connection: psycopg.Connection[Any], settings: Settings, found: Findings, logs: list[LogReader]
) -> bool:
    """Look, and say whether the tables are those of this version."""
    try:
        schema.check(connection)
    except schema.SchemaMissing as error:
        found.problem(str(error), "`northwatch up` and `northwatch migrate` apply what is pending.")
        return False
    except schema.SchemaError as error:
        found.problem(
            str(error), "Until then only the gateway works: reports are answered and kept in the log."
        )
        return False
    found.fact("schema", f"{len(schema.available())} migrations, all applied")
    if not survey.users(connection):
        found.problem("Nobody may sign in.", "`northwatch user add NAME --role admin`")
    cursors = survey.cursors(connection)
    if cursors and logs and not any(log.log_id in cursors for log in logs):
        others = ", ".join(str(log_id) for log_id in cursors)
        found.problem(
            f"This database has read other logs ({others}) and never the ones here.",
            "Right for a new data directory. Otherwise data_dir or database_url is wrong.",
        )
    days = archive.days(settings.data_dir / "archive")
    if not cursors and days:
        found.problem(
            f"This database has read nothing, and the archive begins with {days[0]}: that is not in it.",
            LOST_DATABASE,
        )
    for log in logs:
        _look_at_cursor(cursors.get(log.log_id), log, found)
    return True


def _look_at_record(connection: psycopg.Connection[Any], settings: Settings, found: Findings) -> None:
    compress_after = timedelta(days=settings.keeper.compress_after_days)
    for name, value in tell(connection, settings.retention.retention(), compress_after, datetime.now(UTC)):
        found.fact(name, value)


def _look_at_cursor(cursor: survey.Cursor | None, log: LogReader, found: Findings) -> None:
    start, head, slot = log.start, log.head(), log.name.slot
    if cursor is None:
        found.fact(f"cursor {slot}", "none yet: the worker has read nothing of this log")
        if start > FIRST:
            found.problem(
                f"The database has read nothing of log {slot}, which begins at {start}: what terminals sent"
                " before is not in it.",
                LOST_DATABASE,
            )
        return
    found.fact(
        f"cursor {slot}",
        f"{cursor.position}, {head - cursor.position} bytes behind, log time {shown(cursor.log_time)}",
    )
    if cursor.position > head:
        found.problem(
            f"The cursor ({cursor.position}) is ahead of the log ({head}): the log is an older copy.",
            "The worker refuses to go on. Restore the newer log, or move this one away: a new one begins.",
        )
    if cursor.position < start:
        found.problem(
            f"The cursor ({cursor.position}) is behind the start of the log ({start}): the database is"
            " an older copy, and what lies between is deleted.",
            "Restore a newer copy of the database; see docs/architecture.md.",
        )


def _look_at_certificate(part: str, files: CertificateFiles | None, found: Findings) -> None:
    if files is None:
        return
    try:
        load(files)
        expires = expiry(files.certificate)
    except CertificateError as error:
        found.problem(
            f"{part}.tls_certificate or {part}.tls_key cannot be used: {error}",
            f"Correct the files: a running {part} keeps the pair that it has, and a new one does not start.",
        )
        return
    left = expires - datetime.now(UTC)
    found.fact(f"certificate of the {part}", f"{files.certificate}, valid until {shown(expires)}")
    if left < timedelta(days=EXPIRES_SOON_DAYS):
        when = "has expired" if left < timedelta(0) else f"expires in {left.days} days"
        found.problem(
            f"The {part}'s certificate {when}.", f"Renew it; the {part} takes the new files at once."
        )


def _look_at_processes(settings: Settings, found: Findings, logs: list[LogReader]) -> None:
    """Ask everybody. Who does not answer is a problem where others run; an installation at rest is none."""
    ports = dict(zip(gateways.names(settings), settings.gateway.health_ports, strict=True))
    ports |= {"worker": settings.worker.health_port, "keeper": settings.keeper.health_port}
    ports["monitor"] = settings.monitor.port
    if settings.mqtt_url:
        found.fact("broker", without_password(settings.mqtt_url))
        ports["events"] = settings.events.health_port
    before = _heads(logs)
    https = {"monitor"} if settings.monitor.tls_certificate else set()
    answers = {name: ask(port, is_https=name in https) for name, port in ports.items()}
    running = [name for name, said in answers.items() if said is not None]
    if not running and _heads(logs) != before:
        running = ["whoever writes the log"]
    for name, said in answers.items():
        if said is not None:
            _look_at_answer(name, said, found)
            continue
        found.fact(name, f"nothing answers on 127.0.0.1:{ports[name]}")
        if running:
            found.problem(
                f"The {name} does not answer on 127.0.0.1:{ports[name]}, while others run:"
                f" {', '.join(running)}.",
                "It has ended or hangs: see its messages, end it and start it again. What terminals were"
                " answered is in the log.",
            )


def _heads(logs: list[LogReader]) -> list[int]:
    return [log.head() for log in logs]


def _look_at_answer(name: str, said: dict[str, Any], found: Findings) -> None:
    found.fact(name, "running, well" if said.get("ok", True) else "running, not well")
    if not said.get("ok", True) and said.get("log_damaged") is not True:  # which the look at the logs told
        why = said.get("error") or said.get("reason") or json.dumps(said, ensure_ascii=False)
        found.problem(f"The {name} says: {why}", "See its messages.")


def ask(port: int, *, is_https: bool = False) -> dict[str, Any] | None:
    """Ask a process of this machine how it is; None when nobody answers."""
    # The certificate names the host that people use; here nobody is between us.
    context = ssl._create_unverified_context()
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(*handlers)
    url = f"{'https' if is_https else 'http'}://127.0.0.1:{port}/healthz"
    try:
        with opener.open(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return _state(answer.read)
    except urllib.error.HTTPError as unwell:
        return _state(unwell.read)
    except OSError:
        return None


def _state(read: Callable[[], bytes]) -> dict[str, Any] | None:
    try:
        said = json.loads(read())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _print(found: Findings) -> None:
    console = Screen()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in found.facts:
        table.add_row(name, value)
    console.print(table)
    console.print()
    if not found.problems:
        console.print("nothing is wrong", style="green")
    for problem in found.problems:
        console.print(f"✗ {problem.what}", style="red", soft_wrap=True)
        console.print(f"  {problem.do}", soft_wrap=True)
