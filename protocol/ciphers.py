"""消息体加密, encrypted bodies: one hook for every cipher that bits 10 to 12 of the attributes announce.

JT/T 808-2013 §4.4.3 names RSA (1) and no mode or padding; SM4 (2) is newer practice, as little described.
What a number means is therefore a parameter of the terminal's profile, a `Cipher`; keys come from a
`KeySource`, which the caller has. Every fragment is encrypted on its own, so `decipher` comes before
fragments are put together.

RSA: who sends encrypts with the receiver's public key, in blocks as long as the modulus. The platform
publishes its own by 0x8A00 and learns the terminal's from 0x0A00; `public_key` and `public_numbers` convert
between these bodies and keys. SM4: one key for both directions.

A wrong key cannot always be noticed: then the body reads as something else, or not at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher as Engine
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from protocol.errors import BodyError, LocalProtocolError
from protocol.frame import CIPHER_BITS, CIPHER_SHIFT, Frame

BLOCK: Final = 16
"""Bytes of a block, a key and an IV of SM4, GB/T 32907-2016."""

RSA_BYTES: Final = 128
"""Bytes of the modulus that 0x0A00 and 0x8A00 carry."""

KEPT_KEYS: Final = 1024
"""Parsed RSA keys that are remembered."""


class Algorithm(StrEnum):
    """加密算法."""

    RSA = "rsa"
    SM4 = "sm4"


class Mode(StrEnum):
    """How SM4 goes from block to block."""

    ECB = "ecb"
    CBC = "cbc"
    CTR = "ctr"


class Padding(StrEnum):
    """What fills the last block."""

    PKCS7 = "pkcs7"
    """SM4: as many bytes as are missing, each saying how many."""
    ZERO = "zero"
    """SM4: NUL. It stays behind a deciphered body, because nothing says where that ends."""
    NONE = "none"
    """SM4: nothing; with ECB and CBC bodies must be whole blocks."""
    PKCS1 = "pkcs1"
    """RSA: PKCS #1 v1.5, which costs 11 bytes of each block."""
    OAEP = "oaep"
    """RSA: OAEP with SHA-1, which costs 42 bytes of each block."""


OVERHEAD: Final = {Padding.PKCS1: 11, Padding.OAEP: 42}
FITTING: Final = {
    Algorithm.RSA: {Padding.PKCS1, Padding.OAEP},
    Algorithm.SM4: {Padding.PKCS7, Padding.ZERO, Padding.NONE},
}

ZERO_IV: Final = "zero"
"""The IV is 16 NUL."""
PREFIX_IV: Final = "prefix"
"""The IV is the first 16 bytes of the body."""

KeySource: TypeAlias = Callable[[str], bytes]
"""Gives a key by its name, or raises KeyError: 16 bytes for SM4; PEM or DER for RSA, a private key to
decipher and a public one to encipher."""


def no_keys(name: str) -> bytes:
    """Have no key. It is the key source of those who decode without one."""
    raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Cipher:
    """加密方式, what one number in the header means.

    Raises:
        ValueError: the parts do not go together.
    """

    algorithm: Algorithm
    padding: Padding
    key: str
    """The name of the key for its source; "{identity}" in it stands for the terminal."""
    mode: Mode = Mode.ECB
    """SM4 only."""
    iv: str = ZERO_IV
    """SM4 with CBC or CTR only: "zero", "prefix" or 32 hex digits."""

    def __post_init__(self) -> None:
        if self.padding not in FITTING[self.algorithm]:
            raise ValueError(f"{self.algorithm} has no padding {self.padding}")
        if self.iv not in (ZERO_IV, PREFIX_IV) and len(bytes.fromhex(self.iv)) != BLOCK:
            raise ValueError(f"an IV has {BLOCK} bytes, {self.iv} has others")


def decipher(frame: Frame, ciphers: Mapping[int, Cipher], keys: KeySource) -> Frame:
    """Give the frame with its plain body, and without the bits that say that it is encrypted.

    Raises:
        BodyError: the profile does not know this cipher, its key is not there, or the bytes do not fit it.
    """
    if not frame.cipher:
        return frame
    cipher = ciphers.get(frame.cipher)
    if cipher is None:
        raise BodyError(f"the body is encrypted by cipher {frame.cipher}")
    open_ = _open_sm4 if cipher.algorithm is Algorithm.SM4 else _open_rsa
    try:
        body = open_(cipher, keys(cipher.key.format(identity=frame.identity)), frame.body)
    except KeyError as error:
        raise BodyError(
            f"the body is encrypted by {cipher.algorithm}, and key {error} is not there"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BodyError(f"the body is not what {cipher.algorithm} gives with this key: {error}") from error
    return replace(frame, body=body, attributes=frame.attributes & ~CIPHER_BITS)


def encipher(
    frame: Frame, number: int, ciphers: Mapping[int, Cipher], keys: KeySource, *, nonce: bytes = b""
) -> Frame:
    """Give the frame with its body encrypted as `number` of the header says; 0 leaves it plain.

    `nonce` is a fresh random IV for ciphers that send it before the body.

    Raises:
        LocalProtocolError: the profile does not know this cipher, its key is not there, or the body does not
            fit it.
    """
    if not number:
        return frame
    cipher = ciphers.get(number)
    if cipher is None:
        raise LocalProtocolError(f"no profile explains cipher {number}")
    try:
        key = keys(cipher.key.format(identity=frame.identity))
        if cipher.algorithm is Algorithm.SM4:
            body = _close_sm4(cipher, key, frame.body, nonce)
        else:
            body = _close_rsa(cipher, key, frame.body)
    except KeyError as error:
        raise LocalProtocolError(f"key {error} is not there") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise LocalProtocolError(f"{cipher.algorithm} cannot encrypt this body: {error}") from error
    return replace(frame, body=body, attributes=frame.attributes & ~CIPHER_BITS | number << CIPHER_SHIFT)


def _open_sm4(cipher: Cipher, key: bytes, body: bytes) -> bytes:
    iv, body = _iv(cipher, body)
    engine = _sm4(cipher, key, iv).decryptor()
    plain = engine.update(body) + engine.finalize()
    if cipher.padding is not Padding.PKCS7:
        return plain
    unpadder = PKCS7(8 * BLOCK).unpadder()
    return unpadder.update(plain) + unpadder.finalize()


def _close_sm4(cipher: Cipher, key: bytes, body: bytes, nonce: bytes) -> bytes:
    prefix = nonce if cipher.iv == PREFIX_IV and cipher.mode is not Mode.ECB else b""
    iv, _ = _iv(cipher, prefix)
    if cipher.padding is Padding.PKCS7:
        padder = PKCS7(8 * BLOCK).padder()
        body = padder.update(body) + padder.finalize()
    elif cipher.padding is Padding.ZERO:
        body += bytes(-len(body) % BLOCK)
    engine = _sm4(cipher, key, iv).encryptor()
    return prefix + engine.update(body) + engine.finalize()


def _iv(cipher: Cipher, body: bytes) -> tuple[bytes, bytes]:
    """Give the IV and what of the body is behind it."""
    if cipher.mode is Mode.ECB or cipher.iv == ZERO_IV:
        return bytes(BLOCK), body
    if cipher.iv != PREFIX_IV:
        return bytes.fromhex(cipher.iv), body
    if len(body) < BLOCK:
        raise ValueError(f"{len(body)} bytes are no IV")
    return body[:BLOCK], body[BLOCK:]


def _sm4(cipher: Cipher, key: bytes, iv: bytes) -> Engine[Any]:
    modes_ = {Mode.ECB: modes.ECB(), Mode.CBC: modes.CBC(iv), Mode.CTR: modes.CTR(iv)}
    return Engine(algorithms.SM4(key), modes_[cipher.mode])


def _open_rsa(cipher: Cipher, key: bytes, body: bytes) -> bytes:
    private = _private(key)
    size = private.key_size // 8
    if not body or len(body) % size:
        raise ValueError(f"{len(body)} bytes are not blocks of {size}")
    blocks = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(private.decrypt(block, _rsa_padding(cipher)) for block in blocks)


def _close_rsa(cipher: Cipher, key: bytes, body: bytes) -> bytes:
    public = _public(key)
    room = public.key_size // 8 - OVERHEAD[cipher.padding]
    blocks = (body[at : at + room] for at in range(0, max(len(body), 1), room))
    return b"".join(public.encrypt(block, _rsa_padding(cipher)) for block in blocks)


def _rsa_padding(cipher: Cipher) -> rsa_padding.PKCS1v15 | rsa_padding.OAEP:
    if cipher.padding is Padding.PKCS1:
        return rsa_padding.PKCS1v15()
    sha1 = hashes.SHA1()  # what OAEP means where nothing else is said
    return rsa_padding.OAEP(rsa_padding.MGF1(sha1), sha1, None)


@lru_cache(KEPT_KEYS)
def _private(key: bytes) -> rsa.RSAPrivateKey:
    is_pem = key.startswith(b"-----")
    load = serialization.load_pem_private_key if is_pem else serialization.load_der_private_key
    loaded = load(key, None)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise ValueError("this is no RSA key")
    return loaded


@lru_cache(KEPT_KEYS)
def _public(key: bytes) -> rsa.RSAPublicKey:
    is_pem = key.startswith(b"-----")
    load = serialization.load_pem_public_key if is_pem else serialization.load_der_public_key
    loaded = load(key)
    if not isinstance(loaded, rsa.RSAPublicKey):
        raise ValueError("this is no RSA key")
    return loaded


def public_key(fields: Mapping[str, Any]) -> bytes:
    """Give the public key that 0x0A00 or 0x8A00 carries (`rsa_e`, `rsa_n`), as DER for a key source.

    Raises:
        BodyError: these numbers are no key.
    """
    modulus = int.from_bytes(bytes.fromhex(fields["rsa_n"]))
    try:
        key = rsa.RSAPublicNumbers(fields["rsa_e"], modulus).public_key()
    except ValueError as error:
        raise BodyError(f"rsa_e and rsa_n are no RSA key: {error}") from error
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_numbers(private_key: bytes) -> dict[str, Any]:
    """Give the body by which we publish our key: 0x8A00 of the platform, 0x0A00 of a terminal.

    Raises:
        LocalProtocolError: this is no RSA key, or its modulus has not 1024 bits.
    """
    try:
        numbers = _private(private_key).public_key().public_numbers()
    except ValueError as error:
        raise LocalProtocolError(str(error)) from error
    if numbers.n.bit_length() != 8 * RSA_BYTES:
        raise LocalProtocolError(f"RSA key of {numbers.n.bit_length()} bits: messages carry {8 * RSA_BYTES}")
    return {"rsa_e": numbers.e, "rsa_n": numbers.n.to_bytes(RSA_BYTES).hex()}
