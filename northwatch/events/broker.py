"""Where the broker is: `mqtt://user:password@host:port` as values. Pure; the settings are checked with it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

PORTS = {"mqtt": 1883, "mqtts": 8883}
ALLOWED = "allowed is mqtt://user:password@host:port, or mqtts://… for TLS"
MAX_PREFIX = 100  # characters
_PREFIX = re.compile(r"[^/+#$\s\x00-\x1f][^+#\s\x00-\x1f]*(?<!/)")


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker and how to be let in."""

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    """Certificates to trust; None: those of the system."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def parse(url: str, ca_file: Path | None = None) -> Broker:
    """Read a broker's URL.

    Raises:
        ValueError: it is none; the message says what is allowed and shows nothing of the URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(ALLOWED) from None
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise ValueError(ALLOWED)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{ALLOWED}, and nothing behind the port; %-encode / ? # and @ in a password")
    if parts.password is not None and not parts.username:
        raise ValueError(f"{ALLOWED}; a password needs a user")
    return Broker(
        parts.hostname,
        port or PORTS[parts.scheme],
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password is not None else None,
        parts.scheme == "mqtts",
        ca_file,
    )


def check_prefix(prefix: str) -> str:
    """Give the prefix of the topics back.

    Raises:
        ValueError: no topic can begin with it.
    """
    if len(prefix) > MAX_PREFIX or "//" in prefix or not _PREFIX.fullmatch(prefix):
        raise ValueError(
            f"allowed are at most {MAX_PREFIX} characters without spaces, + and #; / only between levels,"
            " and no $ at the beginning"
        )
    return prefix
