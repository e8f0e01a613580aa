"""Passwords: which may be chosen, and how they are kept.

As NIST SP 800-63B asks: long ones, of whatever a person likes, but none that guessing begins with. Those are
the person's own name, and what stands in `common_passwords.txt`, with digits and signs around it or not.

Kept is the argon2id hash only: a stolen table opens nothing.
"""

import asyncio
import functools
import re
import secrets
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from store.refusals import Unacceptable

MIN_PASSWORD: Final = 10
MAX_PASSWORD: Final = 256
"""Bounds the work; no person reaches it."""
LETTERS_BESIDE_NAME: Final = 4
"""A password with the person's name in it has so many other letters."""
SHORT_PERIOD: Final = 4
"""What is repeated and not longer than this is common, whatever it is."""
FEW_LETTERS: Final = 4
"""With fewer a password is a number with something around it."""

_LIST: Final = Path(__file__).with_name("common_passwords.txt")
_WRITTEN_FOR: Final = str.maketrans("013457@$!", "oieastasi")
"""Letters that are meant by digits and signs."""

_hasher = PasswordHasher()


def check_password(password: str, *names: str) -> None:
    """Look whether a person of these names may have this password.

    Raises:
        Unacceptable: it is too short or too long, the person's name, or a common password.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Unacceptable("password", "password_length", least=MIN_PASSWORD, most=MAX_PASSWORD)
    if any(_is_name(_plain(password), _plain(name)) for name in names):
        raise Unacceptable("password", "password_is_name")
    if any(form in _common() for form in _forms(_plain(password))):
        raise Unacceptable("password", "password_is_common")


async def hash_password(password: str) -> str:
    """Give the argon2id hash, worked out in a thread because it takes a tenth of a second."""
    return await asyncio.to_thread(_hasher.hash, password)


async def password_matches(password_hash: str | None, password: str) -> bool:
    """Check a password, taking as long for an unknown user (None). Needs no connection while it works."""

    def check() -> bool:
        try:
            return _hasher.verify(password_hash or _nobody(), password) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False

    return await asyncio.to_thread(check)


@functools.cache
def _nobody() -> str:
    """Checked when the name is unknown, so that time does not tell which names exist."""
    return _hasher.hash(secrets.token_hex())


@functools.cache
def _common() -> frozenset[str]:
    lines = _LIST.read_text("utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("# "))


def _plain(text: str) -> str:
    """Give a text as guessing takes it: its letters small, without spaces."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _is_name(password: str, name: str) -> bool:
    """Is a password little more than a name, forwards or backwards, once or often?"""
    if not name:
        return False
    for text in (password, password.translate(_WRITTEN_FOR)):
        for form in (name, name[::-1]):
            beside = sum(letter.isalpha() for letter in text.replace(form, ""))
            if form in text and beside < LETTERS_BESIDE_NAME:
                return True
    return False


def _forms(password: str) -> Iterator[str]:
    """Give what may stand in the list: all of it, its word, its number, and what these repeat."""
    for text in (password, password.translate(_WRITTEN_FOR)):
        yield text
        yield _period(text)
    if sum(letter.isalpha() for letter in password) < FEW_LETTERS:
        yield re.sub(r"\D", "", password)
    word = re.sub(r"[\W\d_]+$", "", password)
    for text in (word, re.sub(r"^[\W\d_]+", "", word)):
        yield text
        yield text.translate(_WRITTEN_FOR)
        yield _period(text)


def _period(text: str) -> str:
    """Give what a text repeats, in full or nearly; a short one as something common."""
    length = next((n for n in range(1, len(text) // 2 + 1) if text[n:] == text[:-n]), len(text))
    return "aaa" if length <= SHORT_PERIOD < len(text) else text[:length]
