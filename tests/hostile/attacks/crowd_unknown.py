"""Thousands of invented terminals where only known ones are let in."""

from tests.hostile.attack import Target
from tests.hostile.attacks.crowd import flood

SETTINGS = {"GATEWAY__POLICY": "known"}


def attack(target: Target) -> str:
    """Send one report of each over one link: each is answered that it is not accepted."""
    return flood(target, "1372")
