"""Terminals whose coordinates are not what the standard says."""

from protocol.profile import profile

profile(
    "two's complement",
    "补码坐标 south and west are negative numbers, whatever the hemisphere bits say",
    signed_coordinates=True,
)
