"""What all tests share: options of the long runs, and the database fixtures."""

import pytest

pytest_plugins = ["tests.databases"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="crash tests: hundreds of kills instead of a few")
    parser.addoption("--screenshots", metavar="FOLDER", help="browser tests: keep the pictures for the docs")
