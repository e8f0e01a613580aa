"""鉴权码, authentication codes that are checked without a database.

A code is an HMAC of the terminal's identity and its credential epoch under a secret of this installation.
The same terminal always gets the same code, so a lost registration reply or a repeated registration changes
nothing; raising the epoch makes the old code worthless.
"""

import base64
import contextlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

CODE_BYTES: Final = 10
"""80 bits: nobody guesses one, and 16 letters fit the smallest buffer that devices keep for a code."""

SECRET_BYTES: Final = 32


class Credentials:
    """Makes and checks the codes of one installation."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def code(self, identity: str, epoch: int = 0) -> str:
        """Give the code of a terminal: 16 characters of A to Z and 2 to 7."""
        digest = hmac.digest(self._secret, f"{identity}/{epoch}".encode(), "sha256")
        return base64.b32encode(digest[:CODE_BYTES]).decode()

    def accepts(self, identity: str, code: str, epoch: int = 0) -> bool:
        """Tell whether this is the terminal's code. Padding that devices leave around it does not count."""
        given = code.strip("\0 \t\r\n").encode(errors="replace")
        return hmac.compare_digest(given, self.code(identity, epoch).encode())


def load_secret(path: Path) -> bytes:
    """Read the secret of this installation, made at the first start.

    Raises:
        OSError: the file can be neither read nor made, or holds something else.
    """
    with contextlib.suppress(FileExistsError):
        _make_secret(path)
    try:
        secret = bytes.fromhex(path.read_text())
    except ValueError:
        secret = b""
    if len(secret) < SECRET_BYTES:
        raise OSError(
            f"{path} must hold {2 * SECRET_BYTES} hex digits: restore it from a backup, or remove it;"
            " then every terminal has to register again"
        )
    return secret


def _make_secret(path: Path) -> None:
    """Write a new secret where there is none; it appears whole or not at all."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(SECRET_BYTES).encode())
        os.fsync(descriptor)
        os.link(draft, path)
    finally:
        os.close(descriptor)
        draft.unlink()
