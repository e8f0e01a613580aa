"""What all tests share: options of the long runs, how properties find examples, the database fixtures."""

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.databases", "tests.hostile.table"]

# A busy machine must not fail a property, so neither profile has a deadline. The gate tries the same examples
# on every machine: when it turns red, the change did it. New examples are what `make explore` is for.
_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("gate", derandomize=True, **_PATIENT)
settings.register_profile("explore", max_examples=500, print_blob=True, **_PATIENT)
settings.load_profile("gate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="crash tests: hundreds of kills instead of a few")
    parser.addoption("--attacker-s", type=float, help="hostile tests: so long chance attacks")
    parser.addoption("--attacker-seed", type=int, default=8, help="hostile tests: what chance begins with")
    parser.addoption("--screenshots", metavar="FOLDER", help="browser tests: keep the pictures for the docs")


SLOW_FIRST = (
    "worker",
    "crash",
    "faults",
    "hostile",
    "browser",
    "keeper",
    "events",
    "northwatch",
    "monitor",
    "gateway",
    "store",
)
"""Rooms whose tests take long begin, so that no core is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        room = item.path.parent.name
        return SLOW_FIRST.index(room) if room in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=turn)
