"""Every attack on a running service; a table at the end says what was tried, what it cost, what was felt."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.hostile.attack import Attack, Target, all_attacks
from tests.hostile.service import Service
from tests.hostile.watch import Felt, Watch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ATTACKS = all_attacks()

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A running `northwatch up` with the attack's settings."""
    with Service(request.param) as running:
        yield running


@pytest.fixture
def target(service: Service, request: pytest.FixtureRequest) -> Iterator[Target]:
    """The service, watched."""
    with Watch(service) as watch:
        yield Target(service, watch, is_long=request.config.getoption("--long"))


@pytest.mark.parametrize(
    ("service", "attack"),
    [pytest.param(each.settings, each, id=each.name) for each in ATTACKS],
    indirect=["service"],
)
def test_nobody_honest_feels_it(attack: Attack, target: Target, record_property: Record) -> None:
    """The honest terminal goes on being answered and seen, whatever the attack does."""
    began = time.monotonic()
    cost = attack.run(target)
    _conclude(attack.name, attack.tried, cost, target, began, record_property)


@pytest.mark.parametrize("service", [pytest.param({}, id="shipped")], indirect=True)
def test_all_at_once(target: Target, record_property: Record) -> None:
    """The same when all attacks on a service with the shipped settings come together."""
    if not target.is_long:
        pytest.skip("ONLY IN `make hostile`: all attacks at once need the whole machine for minutes")
    chosen = [each for each in ATTACKS if not each.settings]
    began = time.monotonic()
    with ThreadPoolExecutor(len(chosen)) as pool:
        costs = list(pool.map(lambda each: _run(each, target), chosen))
    tried = f"{len(chosen)} attacks together"
    _conclude("all at once", tried, "; ".join(costs), target, began, record_property)


def _run(attack: Attack, target: Target) -> str:
    """Let an attack be one of many: that its links are closed to make room is as it should be."""
    try:
        return attack.run(target)
    except OSError as error:
        return f"{attack.name} thrown out: {error}"


def _conclude(
    name: str,
    tried: str,
    cost: str,
    target: Target,
    began: float,
    record_property: Record,
) -> None:
    """Wait until the honest ones are served as before, put a line into the table, and judge a long run."""
    target.watch.come_to_rest()
    felt: Felt = target.watch.felt
    line = f"{name}: {tried} [{cost}; {time.monotonic() - began:.0f} s] felt: {felt}"
    record_property("hostile", line if felt.is_bearable else f"{line}  MISSED")
    if target.is_long:  # what is felt beside other tests on a busy machine says nothing
        assert felt.is_bearable, line
