"""What the gate forgives, and what it does not."""

import pytest

TESTS = """
import pathlib, pytest

def is_first(name):
    noted = pathlib.Path(name)
    noted.write_text(noted.read_text() + "x" if noted.exists() else "x")
    return noted.read_text() == "x"

@pytest.fixture(scope="module")
def center():
    assert not is_first("center")

@pytest.mark.crash
def test_starved_once():
    assert not is_first("starved")

@pytest.mark.browser
def test_with_a_center(center):
    pass

@pytest.mark.crash
@pytest.mark.timeout(5)
def test_stuck_once():
    while is_first("stuck"):
        while True:
            pass

@pytest.mark.crash
def test_broken():
    assert False, "always"

def test_of_something_else():
    assert not is_first("else")
"""
FORGIVEN = ("test_starved_once", "test_with_a_center", "test_stuck_once")


def test_what_passes_at_its_second_try_is_told_at_the_end(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers =\n    browser\n    crash")
    pytester.makepyfile(test_them=TESTS)
    ran = pytester.runpytest_subprocess("-p", "tests.second_try", "--second-try", "-n1")
    ran.assert_outcomes(passed=3, failed=2)
    assert {line for line in ran.outlines if line.startswith("FAILED")} == {
        "FAILED test_them.py::test_broken - AssertionError: always",
        "FAILED test_them.py::test_of_something_else - AssertionError: assert not True",
    }
    assert ran.outlines[-3:] == [f"FLAKY: test_them.py::{name}" for name in FORGIVEN]
    assert ran.outlines.count("E       AssertionError: always") == 2  # of both tries


def test_without_the_option_nothing_is_forgiven(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers =\n    browser\n    crash")
    pytester.makepyfile(test_them=TESTS)
    ran = pytester.runpytest_subprocess("-p", "tests.second_try", "-k", "not stuck")
    ran.assert_outcomes(failed=3, errors=1, deselected=1)
