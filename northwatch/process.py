"""What every process of the program does first: say what happens, notice the stop, outlive nobody."""

import _thread
import ctypes
import faulthandler
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import MutableMapping
from types import FrameType
from typing import Any

import structlog

from store.text import visible

PARENT_VARIABLE = "NORTHWATCH_SUPERVISOR"
"""Process id of the supervisor that started us; unset when somebody else did."""
_PR_SET_PDEATHSIG = 1
OWN_FILES = 200
"""Open files that a process has besides the connections that it serves."""


def prepare() -> None:
    """Set up messages on standard error, and end with the supervisor if there is one."""
    faulthandler.enable()
    _follow_supervisor()
    _allow_many_sockets()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(levelname)-8s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of every attempt; health says it once
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("%H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            _harmless,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def possible_connections() -> int:
    """Give how many connections the operating system lets this process have, after `prepare`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - OWN_FILES, 16) if soft != resource.RLIM_INFINITY else sys.maxsize


def _harmless(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make what terminals and strangers said visible; only a traceback has several lines."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value, keep_lines=name == "exception")
    return event


class _Formatter(logging.Formatter):
    """The same for what libraries say."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = visible(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return visible(super().formatException(ei), keep_lines=True)


def stop_event() -> threading.Event:
    """Give an event that SIGTERM and SIGINT set. Call it on the main thread."""
    event = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        # Not here: this interrupts the main thread, perhaps where it waits and holds the lock of the event.
        _thread.start_new_thread(event.set, ())

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return event


def _follow_supervisor() -> None:
    """Have the kernel send SIGTERM when the supervisor dies, so that kill -9 of it leaves no orphan on our
    ports."""
    supervisor = os.environ.get(PARENT_VARIABLE)
    if supervisor is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(supervisor):  # it died before we asked
        sys.exit(1)


def _allow_many_sockets() -> None:
    """Raise the soft limit of open files to the hard one: every terminal is a socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
