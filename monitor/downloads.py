"""Exports on their way to people.

    database → thread that writes the file → spool on disk → thread that reads it → the client

The database's snapshot lasts for as long as the writing, which does not wait for a slow client but where the
spool is full. A **download** ends with its client, with the session that asked for it, with a client that is
too slow, or after `LASTS_S`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from monitor.exports import Writer
from monitor.problems import NotSignedIn, Problem
from monitor.spool import Spool, SpoolError
from store.exports import Export

AT_ONCE: Final = 2
"""Exports that read the database together: each keeps a core of it busy."""
MAX_SPOOLED: Final = 8
"""Downloads together: with what waits for them a disk loses 2 GiB at most."""
LASTS_S: Final = 30 * 60
"""A snapshot that is older keeps the database from tidying up; what takes longer is exported in parts, or by
`northwatch export`."""

_log = structlog.get_logger("monitor")


class Downloads:
    """Those of one monitor."""

    def __init__(self) -> None:
        self._by: set[int] = set()
        """Who has one; a person has one at a time."""
        self._reading = 0
        """How many read the database."""

    def begin(self, by: int, directory: Path | None) -> "Download":
        """Give a download to the person with this id.

        Raises:
            Problem: 429, the person has one, or too many run.
        """
        if by in self._by:
            raise Problem(429, "busy", "You have an export that runs. Wait until it has ended.")
        if self._reading >= AT_ONCE or len(self._by) >= MAX_SPOOLED:
            raise Problem(429, "busy", f"{self._reading} exports are running. Wait until one has ended.")
        download = Download(self, by, directory)
        self._by.add(by)
        self._reading += 1
        return download

    def has_read(self) -> None:
        """One of them needs the database no more."""
        self._reading -= 1

    def has_ended(self, by: int) -> None:
        """One of them is over."""
        self._by.discard(by)


class Download:
    """One export: two threads of its own, because memory that one thread gave back is not there for the next
    one to take, and several would hold several times as much.
    """

    def __init__(self, downloads: Downloads, by: int, directory: Path | None) -> None:
        self._downloads, self._by = downloads, by
        self._spool = Spool(directory)
        self._threads = ThreadPoolExecutor(2, "export")
        self._cancel: Callable[[], None] | None = None
        self._is_over = False
        self.about = 0
        """Rows to expect, once it is open."""
        self._filled: asyncio.Future[None] | None = None
        """Done when all of the file is written, and the database not needed any more."""

    async def open(self, export: AbstractContextManager[Export], write: Writer) -> None:
        """Begin to read the database.

        Raises:
            psycopg.Error: it does not answer, or not with rows.
        """
        loop = asyncio.get_running_loop()
        opened = asyncio.Event()

        def fill() -> None:
            with export as rows:
                self._cancel, self.about = rows.cancel, rows.about
                loop.call_soon_threadsafe(opened.set)
                for piece in write(rows):
                    self._spool.write(piece)
            self._spool.end()

        self._filled = filled = loop.run_in_executor(self._threads, fill)
        filled.add_done_callback(lambda _: self._downloads.has_read())
        filled.add_done_callback(lambda _: opened.set())
        await opened.wait()
        if filled.done():
            filled.result()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the file."""
        while piece := await asyncio.get_running_loop().run_in_executor(self._threads, self._spool.read):
            yield piece

    async def whole(self) -> None:
        """Wait until all of the file is written.

        Raises:
            psycopg.Error, SpoolError, OSError: the file will not be whole.
        """
        assert self._filled is not None
        await asyncio.wait({self._filled})
        self._filled.result()

    def end(self) -> None:
        """Give everything back; the threads end when they notice. Again, it does nothing."""
        if self._is_over:
            return
        self._is_over = True
        self._downloads.has_ended(self._by)
        self._spool.close()
        if self._filled is None:
            self._downloads.has_read()
        elif self._cancel is not None and not self._filled.done():
            self._threads.submit(self._cancel)
        self._threads.shutdown(wait=False)


class Exported(StreamingResponse):
    """The file of a download, cut short where the download ends before it is whole."""

    def __init__(self, download: Download, session: Callable[[], Awaitable[None]], **options: Any) -> None:
        """`session` returns when the session has ended that asked for it."""
        super().__init__(download.pieces(), **options)
        self._download = download
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            async with asyncio.timeout(LASTS_S), asyncio.TaskGroup() as group:
                watching = [group.create_task(self._download.whole()), group.create_task(self._signed_out())]
                await super().__call__(scope, receive, send)
                for task in watching:
                    task.cancel()
        except* (psycopg.Error, SpoolError, OSError, TimeoutError, NotSignedIn) as ended:
            why = ", ".join(f"{type(each).__name__} {each}".strip() for each in ended.exceptions)
            _log.warning("export cut short", why=why)
        finally:
            self._download.end()

    async def _signed_out(self) -> None:
        await self._session()
        raise NotSignedIn
