"""What an honest terminal and an operator feel while an attack goes on."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from tests.hostile import wire
from tests.hostile.link import Link
from tests.hostile.service import Service, until

HONEST = "13900000001"
PLATE = "辽A10001"
REPORT_EVERY_S = 0.5
LOOK_EVERY_S = 0.5

ANSWERED_WITHIN_S = 1.0
FACTS_WITHIN_S = 5.0
PAGE_WITHIN_S = 5.0
"""What may be felt on a machine that is not busy with the attacker itself."""
MEMORY_WITHIN_MB = 500.0
"""Of all processes: thousands of links with their buffers are some 200."""


@dataclass
class Felt:
    """The worst that was felt between two looks, in seconds, and memory in megabytes."""

    answer_s: float = 0.0
    facts_s: float = 0.0
    page_s: float = 0.0
    memory_mb: float = 0.0

    @property
    def is_bearable(self) -> bool:
        """Whether nobody honest was kept waiting."""
        return (
            self.answer_s <= ANSWERED_WITHIN_S
            and self.facts_s <= FACTS_WITHIN_S
            and self.page_s <= PAGE_WITHIN_S
            and self.memory_mb <= MEMORY_WITHIN_MB
        )

    def __str__(self) -> str:
        return (
            f"answer {self.answer_s:.2f} s · facts {self.facts_s:.1f} s behind · page {self.page_s:.2f} s"
            f" · memory +{self.memory_mb:.0f} MB"
        )


@dataclass
class _Report:
    data: bytes
    serial: int
    began: float
    answered: float | None = None


class Watch:
    """An honest terminal that reports twice a second, and an operator who looks as often.

    The terminal keeps the standard's contract: what is not answered it sends again over a new link. How long
    a report waits counts from its first sending.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._reports: list[_Report] = []
        self._seen = 0
        self._done = threading.Event()
        self._code = b""
        self._memory_mb = 0.0
        self.felt = Felt()
        self.faults: list[str] = []
        """What stopped a watcher, which a test must not overlook."""
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._drive, self._follow_facts, self._open_pages)
        ]

    def __enter__(self) -> "Watch":
        if self._service.settings.get("GATEWAY__POLICY") == "known":
            self.enter_terminal(HONEST)
        self._memory_mb = self._service.memory_mb()
        for thread in self._threads:
            thread.start()
        until(lambda: self._seen, "the honest terminal's first report in the database")
        self.felt = Felt()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def enter_terminal(self, identity: str) -> None:
        """Enter a terminal as a person does, and wait until the gateway lets it register."""
        done = self._service.command("terminal", "add", identity)
        assert done.returncode == 0, done.stdout + done.stderr

        def may_register() -> bool:
            with Link(self._service.port) as link:
                result, _ = link.ask(identity, 0x0100, wire.registration(PLATE))
                return result == 0

        until(may_register, f"registration of {identity}, which was entered")

    def come_to_rest(self) -> None:
        """Wait until everything that the honest terminal had answered by now is a fact."""
        answered = self.answered
        until(lambda: self._seen >= answered, "the honest terminal's answered reports in the database")
        newer = self.answered
        until(lambda: self.answered > newer, "another answer for the honest terminal")
        assert not self.faults, self.faults

    @property
    def answered(self) -> int:
        """How many reports of the honest terminal have been answered."""
        return sum(each.answered is not None for each in self._reports)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.faults.append(f"{error!r} in {work}")
            raise

    def _drive(self) -> None:
        while not self._done.is_set():
            with contextlib.suppress(OSError), Link(self._service.port) as link:
                self._session(link)
            self._done.wait(0.1)

    def _session(self, link: Link) -> None:
        if not self._code:
            result, self._code = link.ask(HONEST, 0x0100, wire.registration(PLATE))
            assert result == 0, f"the honest terminal's registration: {result}"
        result, _ = link.ask(HONEST, 0x0102, self._code)
        if result != 0:
            self._code = b""
            return
        while not self._done.is_set():
            report = self._reports[-1] if self._reports else None
            if report is None or report.answered is not None:
                number = len(self._reports)
                serial = 1000 + number % 60_000
                body = wire.location(mileage_km=number / 10)
                report = _Report(wire.frame(HONEST, 0x0200, body, serial), serial, time.monotonic())
                self._reports.append(report)
            link.send(report.data)
            while report.answered is None:
                try:
                    _, serial, result, _ = link.answer(1.0)
                except TimeoutError:
                    self._note(answer_s=time.monotonic() - report.began)
                    if self._done.is_set():
                        return
                    continue
                if serial == report.serial:
                    assert result == 0, f"an honest report was answered {result}"
                    report.answered = time.monotonic()
            self._note(answer_s=report.answered - report.began)
            self._done.wait(REPORT_EVERY_S)

    def _follow_facts(self) -> None:
        count = (
            "SELECT count(*) FROM positions JOIN terminals ON terminals.id = terminal_id WHERE identity = %s"
        )
        while not self._done.is_set():
            with (
                contextlib.suppress(OSError, psycopg.OperationalError),
                self._service.connect() as connection,
            ):
                while not self._done.is_set():
                    row = connection.execute(count, [HONEST]).fetchone()
                    self._seen = row[0] if row else 0
                    self._note_lag()
                    self._done.wait(LOOK_EVERY_S)
            self._note_lag()
            self._done.wait(0.5)

    def _note_lag(self) -> None:
        waiting = self._reports[self._seen] if self._seen < len(self._reports) else None
        if waiting is not None and waiting.answered is not None:
            self._note(facts_s=time.monotonic() - waiting.answered)

    def _open_pages(self) -> None:
        while not self._done.is_set():
            began = time.monotonic()
            for path in ("/api/v1/me", "/api/v1/alarms?limit=50", "/api/v1/health"):
                while not self._done.is_set():
                    try:
                        status, _, _ = self._service.request("GET", path)
                    except OSError:
                        status = 0
                    if status == 200:
                        break
                    self._note(page_s=time.monotonic() - began)
                    self._done.wait(0.2)
            self._note(page_s=time.monotonic() - began)
            self.felt.memory_mb = max(self.felt.memory_mb, self._service.memory_mb() - self._memory_mb)
            self._done.wait(LOOK_EVERY_S)

    def _note(self, **felt: float) -> None:
        for name, value in felt.items():
            setattr(self.felt, name, max(getattr(self.felt, name), value))
