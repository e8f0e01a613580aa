"""Encrypted bodies: what one side writes the other reads; all else is a value or a declared error."""

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from protocol.ciphers import (
    Algorithm,
    Cipher,
    Mode,
    Padding,
    decipher,
    encipher,
    no_keys,
    public_key,
    public_numbers,
)
from protocol.edition import Edition
from protocol.errors import BodyError, LocalProtocolError
from protocol.frame import Frame
from protocol.jsonl import decode_record, encode_record
from protocol.messages import Undecodable, decode_body, decode_frame, encode_body
from protocol.profile import Profile

SM4_KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
"""The key, and plain text, of the first example of GB/T 32907-2016 appendix A."""
SM4_EXAMPLE = bytes.fromhex("681edf34d206965e86b3e94f536e4246")

HEARTBEAT = Frame(0x0002, bytes.fromhex("013912345678"), 1, b"")
REPORT = Frame(0x0200, bytes.fromhex("013912345678"), 7, bytes(22) + bytes.fromhex("260131081530"))


def der(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())


PRIVATE = rsa.generate_private_key(65537, 1024)  # as long as messages carry
KEYS = {
    "sm4": SM4_KEY,
    "platform": der(PRIVATE),
    "terminal/13912345678": public_key(public_numbers(der(PRIVATE))),
}
SM4 = [
    Cipher(Algorithm.SM4, padding, "sm4", mode, iv)
    for mode in Mode
    for padding in (Padding.PKCS7, Padding.NONE, Padding.ZERO)
    for iv in ("zero", "prefix", "0f" * 16)
]


def keys(name: str) -> bytes:
    return KEYS[name]


def test_sm4_is_the_one_of_the_standard() -> None:
    cipher = Cipher(Algorithm.SM4, Padding.NONE, "sm4")
    frame = encipher(Frame(0x0900, bytes(6), 0, SM4_KEY), 2, {2: cipher}, keys)
    assert frame.body == SM4_EXAMPLE and frame.cipher == 2
    assert decipher(frame, {2: cipher}, keys).body == SM4_KEY


@given(st.sampled_from(SM4), st.integers(1, 7), st.binary(max_size=100), st.binary(min_size=16, max_size=16))
def test_sm4_reads_what_it_writes(cipher: Cipher, number: int, body: bytes, nonce: bytes) -> None:
    if cipher.padding is Padding.NONE and cipher.mode is not Mode.CTR:
        body += bytes(-len(body) % 16)
    plain = Frame(0x0900, bytes(6), 0, body, attributes=0x8000)
    secret = encipher(plain, number, {number: cipher}, keys, nonce=nonce)
    assert secret.cipher == number and secret.attributes & 0x8000
    again = decipher(secret, {number: cipher}, keys)
    if cipher.padding is Padding.ZERO:
        assert again.body == body + bytes(-len(body) % 16)
    else:
        assert again == plain
    assert len(secret.body) >= len(body)


@pytest.mark.parametrize("padding", [Padding.PKCS1, Padding.OAEP])
@pytest.mark.parametrize("size", [0, 1, 86, 117, 118, 500])
def test_rsa_reads_what_it_writes(padding: Padding, size: int) -> None:
    to_terminal = {1: Cipher(Algorithm.RSA, padding, "terminal/{identity}")}
    own = {1: Cipher(Algorithm.RSA, padding, "platform")}
    plain = Frame(0x8300, HEARTBEAT.raw_id, 3, bytes(range(250))[:size] * (2 if size == 500 else 1))
    secret = encipher(plain, 1, to_terminal, keys)
    assert len(secret.body) % 128 == 0 and secret.body != plain.body
    assert decipher(secret, own, keys) == plain


def test_keys_travel_in_0a00_and_8a00() -> None:
    numbers = public_numbers(der(PRIVATE))
    body = encode_body(0x8A00, Edition.E2013, numbers)
    fields = decode_body(0x0A00, Edition.E2013, body)
    assert isinstance(fields, dict) and public_key(fields) == KEYS["terminal/13912345678"]


def test_a_cipher_without_profile_is_a_value() -> None:
    secret = encipher(REPORT, 2, {2: SM4[0]}, keys)
    for ciphers in ({}, {1: SM4[0]}):
        fields = decode_frame(secret, Edition.E2013, profile=Profile("x", ciphers=ciphers), keys=keys)
        assert fields == Undecodable(secret.body, "the body is encrypted by cipher 2")
    assert isinstance(decode_frame(secret, Edition.E2013), Undecodable)
    fields = decode_frame(secret, Edition.E2013, profile=Profile("x", ciphers={2: SM4[0]}))
    assert isinstance(fields, Undecodable) and "key 'sm4' is not there" in fields.error
    fields = decode_frame(secret, Edition.E2013, profile=Profile("x", ciphers={2: SM4[0]}), keys=keys)
    assert isinstance(fields, dict) and fields["extras"] == {}


@given(st.sampled_from([*SM4, Cipher(Algorithm.RSA, Padding.PKCS1, "platform")]), st.binary(max_size=300))
def test_any_bytes_are_a_body_or_the_declared_error(cipher: Cipher, body: bytes) -> None:
    frame = Frame(0x0200, bytes(6), 0, body, attributes=1 << 10)
    try:
        assert decipher(frame, {1: cipher}, keys).cipher == 0
    except BodyError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("number", "cipher", "body", "error"),
    [
        (3, SM4[0], b"", "cipher 3"),
        (1, Cipher(Algorithm.SM4, Padding.PKCS7, "lost"), b"", "'lost'"),
        (1, Cipher(Algorithm.SM4, Padding.PKCS7, "platform"), b"", "sm4"),
        (1, Cipher(Algorithm.SM4, Padding.NONE, "sm4"), b"x", "sm4"),
        (1, Cipher(Algorithm.SM4, Padding.PKCS7, "sm4", Mode.CBC, "prefix"), b"x", "no IV"),
        (1, Cipher(Algorithm.RSA, Padding.PKCS1, "sm4"), b"x", "rsa"),
    ],
)
def test_what_cannot_be_encrypted_is_our_own_mistake(
    number: int, cipher: Cipher, body: bytes, error: str
) -> None:
    frame = Frame(0x0900, bytes(6), 0, body)
    with pytest.raises(LocalProtocolError, match=error):
        encipher(frame, number, {1: cipher}, keys)


def test_plain_frames_stay_as_they_are() -> None:
    assert decipher(REPORT, {}, no_keys) is REPORT and encipher(REPORT, 0, {}, no_keys) is REPORT


def test_bad_parameters_and_keys_say_so() -> None:
    with pytest.raises(ValueError, match="no padding"):
        Cipher(Algorithm.RSA, Padding.PKCS7, "x")
    with pytest.raises(ValueError, match="16 bytes"):
        Cipher(Algorithm.SM4, Padding.PKCS7, "x", Mode.CBC, "00")
    with pytest.raises(BodyError, match="no RSA key"):
        public_key({"rsa_e": 2, "rsa_n": "00" * 128})
    with pytest.raises(LocalProtocolError, match="2048 bits"):
        public_numbers(der(rsa.generate_private_key(65537, 2048)))
    with pytest.raises(LocalProtocolError, match="no RSA key"):
        public_numbers(der(ec.generate_private_key(ec.SECP256R1())))
    pem = PRIVATE.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert public_numbers(pem) == public_numbers(der(PRIVATE))


@pytest.mark.parametrize(
    "cipher",
    [
        {"algorithm": "sm4", "padding": "pkcs7", "key": SM4_KEY.hex(), "number": 2},
        {"algorithm": "sm4", "padding": "pkcs7", "mode": "cbc", "iv": "prefix", "key": SM4_KEY.hex()},
        {"algorithm": "sm4", "padding": "none", "mode": "ctr", "key": SM4_KEY.hex()},
    ],
)
def test_records_say_how_bodies_are_encrypted(cipher: dict[str, Any]) -> None:
    """A short one, and one of several fragments, each of which is encrypted on its own."""
    one = (28).to_bytes(2) + REPORT.body
    for msg_id, raw in (("0x0200", REPORT.body), ("0x0704", (60).to_bytes(2) + b"\x01" + 60 * one)):
        asked = {"msg_id": msg_id, "terminal": "13912345678", "serial": 1, "cipher": cipher}
        plain = decode_body(int(msg_id, 16), Edition.E2013, raw)
        assert isinstance(plain, dict)
        written = encode_record(asked | {"body": {"raw": raw.hex()}})
        if isinstance(written.get("hex"), str):
            secret = decode_record({"hex": written["hex"]})
            assert secret["ok"] and "encrypted by cipher" in secret["body"]["error"]
        elif not written["ok"]:
            assert "fragment it" in written["error"]  # padding makes full fragments too long
            continue
        answer = decode_record({"hex": written["hex"], "cipher": cipher})
        assert answer["ok"] and "error" not in answer["body"], answer
    assert not decode_record({"hex": "7e7e", "cipher": {"algorithm": "des"}})["ok"]


def test_fragments_of_an_unknown_cipher_are_put_together_and_shown() -> None:
    parts = [
        Frame(0x0704, bytes(6), serial, b"x" * 16, None, (2, serial), 1 << 10).encode().hex()
        for serial in (1, 2)
    ]
    answer = decode_record({"hex": parts})
    assert answer["ok"] and answer["body"]["error"] == "the body is encrypted by cipher 1"
    assert answer["body"]["raw"] == (b"x" * 32).hex()
