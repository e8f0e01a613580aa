"""A second try for tests of whole installations (`--second-try`, in .ci/run): one that was starved once by
what else the machine does is told as flaky, in the last lines of the run, and does not cost everybody's work.

It is for tests that drive a browser or kill processes; whatever else fails has failed. A second try begins
anew, with a center, a browser and a time-out of its own.
"""

import contextlib
from collections.abc import Generator, Sequence

import pytest
from _pytest.runner import runtestprotocol

MARKS = ("browser", "crash")
FIRST_TRY = pytest.StashKey[str]()
"""How it failed."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--second-try", action="store_true", help="browser and crash tests may fail once")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not item.config.getoption("--second-try") or not any(map(item.get_closest_marker, MARKS)):
        return None
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    failures = [f"in its {each.when}:\n{each.longreprtext}" for each in reports if each.failed]
    if failures and FIRST_TRY not in item.stash:
        item.stash[FIRST_TRY] = "\n".join(failures)
        with contextlib.suppress(Exception):  # whatever is broken may not end in order either
            item.session._setupstate.teardown_exact(None)
        return bool(item.ihook.pytest_runtest_protocol(item=item, nextitem=nextitem))
    if FIRST_TRY in item.stash:
        _mark(reports, item.stash[FIRST_TRY])
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _mark(reports: Sequence[pytest.TestReport], first_try: str) -> None:
    """Note the first try: where it failed twice with the failure, else to be told at the end."""
    for report in reports:
        report.sections.append(("first try", first_try))
        if report.when == "call" and not any(each.failed for each in reports):
            report.user_properties.append(("flaky", first_try))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Tell what passed at its second try only, below everything else."""
    yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:  # a worker of pytest-xdist
        return
    flaky = {
        report.nodeid: value
        for report in terminal.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "flaky"
    }
    for nodeid, first_try in flaky.items():
        terminal.section(f"first try of {nodeid}", red=True)
        terminal.write_line(first_try)
    for nodeid in flaky:
        terminal.write_line(f"FLAKY: {nodeid}", red=True, bold=True)
