"""The certificate that terminals see, which may be renewed while we run.

Its files are looked at once a second. A new pair serves the connections that come after it; one that cannot
be used changes nothing and is told.

Errors:
    CertificateError — the files cannot be used; its text names the file and what is wrong.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography import x509

logger = structlog.get_logger()

EXPIRES_SOON_DAYS: Final = 14
"""Renewals usually run a month ahead: two weeks before the end something is wrong with them."""


class CertificateError(Exception):
    """The certificate, its key or the clients' authority cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """Where it is, all in PEM."""

    certificate: Path
    """With the chain up to, and without, what terminals trust."""
    key: Path
    """Not encrypted: nobody is there to type a password."""
    client_ca: Path | None = None
    """If set, only terminals with a certificate signed by one of these may connect."""


def load(files: CertificateFiles) -> ssl.SSLContext:
    """Make what a handshake needs. TLS 1.2 is the oldest allowed (RFC 8996).

    Raises:
        CertificateError: a file is missing, is none, or does not belong to the other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        for path in filter(None, (files.certificate, files.key, files.client_ca)):
            path.open("rb").close()
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except ssl.SSLError as error:
        raise CertificateError(
            f"{files.certificate} and {files.key} are no usable pair: {error.reason or error}"
        ) from None
    except OSError as error:
        raise CertificateError(f"{error.filename}: {error.strerror}") from None
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise CertificateError(
                f"{files.client_ca} holds no certificate: {error.reason or error}"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    raise CertificateError("the key is encrypted: store it without a password, readable by this user only")


def expiry(path: Path) -> datetime:
    """Say until when a certificate is valid, in UTC.

    Raises:
        CertificateError: the file cannot be read.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise CertificateError(f"{path}: {error}") from None


class Certificate:
    """The pair in use."""

    def __init__(self, files: CertificateFiles) -> None:
        """Load it.

        Raises:
            CertificateError: it cannot be used.
        """
        self._files = files
        self._seen = self._stamps()
        self.context = load(files)
        """For the next handshake."""
        self.expires = expiry(files.certificate)
        self.fault = ""
        """What is wrong with files that are newer than the pair in use."""

    def refresh(self) -> bool:
        """Take new files, if there are any and they can be used. Say whether there were new ones."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._seen = stamps
        try:
            context, expires = load(self._files), expiry(self._files.certificate)
        except CertificateError as error:
            self.fault = str(error)
            logger.error("new certificate cannot be used; the old one stays", error=self.fault)
        else:
            self.context, self.expires, self.fault = context, expires, ""
            logger.info("new certificate", expires=f"{expires:%F %T} UTC")
        return True

    def state(self, now: datetime | None = None) -> dict[str, Any]:
        """Say how it is, as JSON-ready values."""
        left = self.expires - (now or datetime.now(UTC))
        return {
            "expires": self.expires.isoformat(),
            "days_left": round(left.total_seconds() / 86400, 1),
            "fault": self.fault,
        }

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        """Give what changes when a file is replaced or written to."""
        paths = (self._files.certificate, self._files.key, self._files.client_ca)
        return [_stamp(path) for path in paths if path is not None]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
