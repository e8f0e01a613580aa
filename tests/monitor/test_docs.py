"""docs/api.md names every route, and no other."""

import re
from pathlib import Path

from monitor.app import create_app
from monitor.options import MonitorOptions
from monitor.problems import HTTP_CODES, REFUSALS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "api.md").read_text("utf-8")


def test_every_route_is_in_the_document_and_the_other_way_round() -> None:
    described = {
        (method.upper(), re.sub(r"\{\w+\}", "{id}", path))
        for path, operations in create_app(MonitorOptions("")).openapi()["paths"].items()
        for method in operations
    }
    found = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) ([^`? ]+)`", DOCUMENT)
    named = {(method, re.sub(r"\{\w+\}", "{id}", path)) for method, path in found}
    named.discard(("GET", "/api/openapi.json"))
    assert named == described


def test_every_problem_code_is_in_the_document() -> None:
    codes = {code for _, code in REFUSALS.values()} | set(HTTP_CODES.values())
    source = "".join(path.read_text("utf-8") for path in (ROOT / "monitor").rglob("*.py"))
    codes |= set(re.findall(r'Problem\(\s*\d{3}, "(\w+)"', source))
    codes |= set(re.findall(r'super\(\).__init__\(\d{3}, "(\w+)"', source))
    assert {code for code in codes if f"`{code}`" not in DOCUMENT} == set()
