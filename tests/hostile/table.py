"""Print at the end of a test run what attacks cost and what was felt meanwhile."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each attack."""
    lines = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", [])
        if name == "hostile"
    ]
    if lines:
        terminalreporter.section("attacks, and what an honest terminal and an operator felt")
        for line in lines:
            terminalreporter.write_line(line)
