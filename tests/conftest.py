"""What all tests share: options of the long runs, how properties find examples, who runs beside whom, the
database fixtures.
"""

import random

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

pytest_plugins = ["pytester", "tests.databases", "tests.hostile.table", "tests.second_try"]

# A busy machine must not fail a property, so neither profile has a deadline. The gate tries the same examples
# on every machine: when it turns red, the change did it. New examples are what `make explore` is for.
_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("gate", derandomize=True, **_PATIENT)
settings.register_profile("explore", max_examples=500, print_blob=True, **_PATIENT)
settings.load_profile("gate")


SEED = 808
"""Of what tests draw by chance, in the gate."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="crash tests: hundreds of kills instead of a few")
    parser.addoption("--attacker-s", type=float, help="hostile tests: so long chance attacks")
    parser.addoption("--attacker-seed", type=int, default=8, help="hostile tests: what chance begins with")
    parser.addoption("--screenshots", metavar="FOLDER", help="browser tests: keep the pictures for the docs")
    parser.addoption("--seed", type=int, help="crash tests: the same kills again; --long else takes new ones")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Where chance begins; printed, so that `--seed` can begin there again."""
    chosen: int | None = request.config.getoption("--seed")
    if chosen is None:
        chosen = random.SystemRandom().randrange(1 << 32) if request.config.getoption("--long") else SEED
    print(f"--seed {chosen}")
    return chosen


WHOLE = ("browser/", "crash/", "faults/", "hostile/", "system/", "northwatch/test_up.py")
"""Where tests run whole installations, with a database and a handful of processes each."""
SLOW_FIRST = ("browser", "crash", "faults", "hostile", "system", "worker", "keeper", "events", "northwatch")
"""Rooms whose tests take long begin, so that no core is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        if item.path.name == "test_up.py":
            return -1
        room = item.path.parent.name
        return SLOW_FIRST.index(room) if room in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=turn)


class OneInstallation(LoadFileScheduling):
    """The tests of one file run in one process, and so do all that run whole installations, one after
    another: two cores do not carry two of these, and the browser tests share a center and a Chromium.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "installations" if file.removeprefix("tests/").startswith(WHOLE) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneInstallation:
    return OneInstallation(config, log)
