"""加密类消息: the public keys of both sides. 2013 §8.64 and §8.65, 2019 §8.63 and §8.64."""

from construct import Int32ub, Struct

from protocol.adapters import HexBytes
from protocol.message import DOWN, UP, message

RSA_BYTES = 128
"""A modulus of 1024 bits; the standard has no other."""

PUBLIC_KEY = Struct(
    "rsa_e" / Int32ub * "RSA公钥e exponent",
    "rsa_n" / HexBytes(RSA_BYTES) * "RSA公钥n modulus",
)

message(
    0x8A00,
    "平台RSA公钥",
    "platform's RSA key",
    PUBLIC_KEY,
    direction=DOWN,
    answer=0x0A00,
    clause="2013 §8.64",
)
message(
    0x0A00, "终端RSA公钥", "terminal's RSA key", PUBLIC_KEY, direction=UP, answer=0x8A00, clause="2013 §8.65"
)
