"""Somebody who has not read the list of attacks: some seconds of chance in the gate, an hour on demand.

`make hostile LONG=1` runs the hour, and prints each minute what was felt; `HOSTILE="--attacker-seed 9"` tries
other bytes.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.hostile.attack import Target
from tests.hostile.attacker import Attacker
from tests.hostile.service import PATIENCE_S, Service
from tests.hostile.watch import Felt, Watch

CLIENTS = 4
GATE_S = 10.0
LOOK_S = 60.0
SETTINGS = {"GATEWAY__EXEMPT_NETWORKS": "10.255.255.255/32"}
"""The limits for each address hold for the attacker, too."""
OPERATOR, FIRST, PASSWORD = "nightshift", "to be changed soon", "eleven-quiet-lamps"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * 3600)]


@pytest.fixture
def service() -> Iterator[Service]:
    """A running `northwatch up`."""
    with Service(SETTINGS) as running:
        yield running


def test_chance_stops_nothing(
    service: Service, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """Terminals and people are served as ever, nothing breaks, and no process had to be started again."""
    lasts_s = request.config.getoption("--attacker-s") or GATE_S
    seed = request.config.getoption("--attacker-seed")
    print(f"seed {seed}")
    worst = Felt()
    with Watch(service) as watch:
        target = Target(service, watch, is_long=lasts_s > GATE_S)
        cookie, paths = _operator(service), _paths(service)
        attackers = [Attacker(target, seed + number, cookie, paths) for number in range(CLIENTS)]
        began, until = time.monotonic(), time.monotonic() + lasts_s
        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(each.run, until) for each in attackers]
            while time.monotonic() < until:
                time.sleep(min(LOOK_S, max(0.0, until - time.monotonic())))
                print(f"{time.monotonic() - began:5.0f} s  {watch.felt}", flush=True)
            for each in running:
                each.result()
        watch.come_to_rest()
        worst = watch.felt
    did = sum((each.did for each in attackers), Counter[str]())
    broken = [line for each in attackers for line in each.broken]
    told = ", ".join(f"{count:,} {name}" for name, count in did.most_common())
    line = f"chance: {lasts_s:.0f} s, seed {seed} [{told}] felt: {worst}"
    record_property("hostile", line if worst.is_bearable else f"{line}  MISSED")
    assert not broken, broken[:20]
    assert " starts again" not in service.said, service.said[-4000:]
    if target.is_long:
        assert worst.is_bearable, line


def _operator(service: Service) -> str:
    """Make an operator, whose right to look and to handle alarms the attacker has stolen."""
    given = {"name": OPERATOR, "password": FIRST, "role": "operator"}
    status, _, body = service.request("POST", "/api/v1/users", given)
    assert status == 201, body
    status, head, body = service.request("POST", "/api/v1/sign-in", {"name": OPERATOR, "password": FIRST})
    assert status == 200, body
    cookie = head["set-cookie"].split(";")[0]
    change = {"old_password": FIRST, "new_password": PASSWORD}
    status, _, body = service.request("POST", "/api/v1/me/password", change, cookie=cookie)
    assert status == 204, body
    return cookie


def _paths(service: Service) -> dict[str, list[str]]:
    """Return every path of the API with its methods, without those that would lock the attacker out."""
    status, _, body = service.request("GET", "/api/openapi.json", timeout_s=PATIENCE_S)
    assert status == 200
    paths = json.loads(body)["paths"]
    own = {path for path in paths if path.endswith(("/sign-out", "/sign-in", "/me/password"))}
    return {path: [each.upper() for each in methods] for path, methods in paths.items() if path not in own}
