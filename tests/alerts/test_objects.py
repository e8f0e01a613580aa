"""Places out of the items of reports."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.objects import crossed_places, object_code, object_name, overspeed_places, timed_sections

READERS = {0x11: overspeed_places, 0x12: crossed_places, 0x13: timed_sections}


def name(item: int, value: str) -> str:
    """Read the value of one item that stands at the very end of the bytes."""
    data = np.frombuffer(b"\xff" + bytes.fromhex(value), np.uint8)
    (code,) = READERS[item](data, np.array([1]), np.array([len(data) - 1]))
    return object_name(int(code))


@pytest.mark.parametrize(
    ("item", "value", "expected"),
    [
        (0x11, "00", ""),
        (0x11, "00 00000005", ""),
        (0x11, "01 00000005", "circle:5"),
        (0x11, "02 00000005", "rectangle:5"),
        (0x11, "03 ffffffff", "polygon:4294967295"),
        (0x11, "04 00000005", "section:5"),
        (0x11, "09 00000005", "kind-9:5"),
        (0x11, "01 0005", ""),
        (0x11, "", ""),
        (0x12, "01 00000000 00", "circle:0:in"),
        (0x12, "04 00000007 01", "route:7:out"),
        (0x12, "04 00000007", ""),
        (0x13, "00000009 003c 00", "section:9:too_short"),
        (0x13, "00000009 003c 01", "section:9:too_long"),
        (0x13, "00000009 003c 0001", ""),  # 2011 prints the result as a WORD, and the length as 7
    ],
)
def test_places(item: int, value: str, expected: str) -> None:
    assert name(item, value) == expected


@pytest.mark.parametrize("read", READERS.values())
def test_reports_without_the_item_name_no_place(read: object) -> None:
    nothing = np.zeros(3, np.int64)
    assert read(np.zeros(0, np.uint8), nothing, nothing).tolist() == [0, 0, 0]  # type: ignore[operator]


def test_a_place_differs_by_what_happened_there() -> None:
    names = {name(0x12, "01 00000005 00"), name(0x12, "01 00000005 01"), name(0x11, "01 00000005")}
    assert len(names) == 3


@given(st.integers(1, 5), st.integers(0, 255), st.integers(0, (1 << 32) - 1))
def test_a_text_leads_back_to_its_code(what: int, kind: int, place: int) -> None:
    code = what << 40 | kind << 32 | place
    assert object_name(object_code(object_name(code))) == object_name(code)
