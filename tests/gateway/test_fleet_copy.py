"""The local copy of the fleet."""

from pathlib import Path

import pytest

from gateway.fleet import Fleet, FleetData, FleetTerminal

DATA = FleetData(
    {
        "1": FleetTerminal(known=True, plate="辽A00001", plate_color=2),
        "2": FleetTerminal(known=True),
        "3": FleetTerminal(blocked=True),
    },
    [("辽A00001", 2), ("辽A00002", 2)],
)


@pytest.mark.parametrize(
    ("identity", "plate", "is_open", "is_known"),
    [
        ("1", ("辽A00001", 2), None, None),  # the same again
        ("1", ("", 0), None, None),  # no plate yet
        ("1", ("辽A00002", 2), 3, 3),  # in another vehicle
        ("1", ("辽A00001", 1), 3, 3),  # the same plate in another colour is another vehicle
        ("1", ("辽a·000 01", 2), None, None),  # only spelled otherwise
        ("1", ("LVHRM1860J5012345", 0), None, None),  # a VIN, because it has no colour
        ("2", ("辽A00001", 2), 1, 1),  # the vehicle has another terminal
        ("2", ("辽A00002", 2), None, None),
        ("2", ("辽A00003", 2), None, 2),  # nobody entered the vehicle
        ("9", ("辽A00002", 2), None, 4),  # nobody entered the terminal
        ("9", ("辽A00001", 2), 1, 4),
        ("3", ("", 0), 4, 4),  # blocked
    ],
)
def test_a_registration_is_refused_for_a_real_conflict_only(
    tmp_path: Path, identity: str, plate: tuple[str, int], is_open: int | None, is_known: int | None
) -> None:
    fleet = Fleet(tmp_path / "fleet.json")
    fleet.replace(DATA)
    for only_known, expected in ((False, is_open), (True, is_known)):
        conflict = fleet.conflict(identity, plate, only_known=only_known)
        assert (conflict.result if conflict else None) == expected


def test_vehicles_that_nobody_listed_are_not_refused(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet.json")
    fleet.replace(FleetData({"2": FleetTerminal(known=True)}))
    assert fleet.conflict("2", ("辽A00003", 2), only_known=True) is None


def test_the_copy_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    fleet = Fleet(path)
    assert fleet.fetch(lambda: DATA) == DATA
    assert fleet.replace(DATA) == ["3"], "those that are blocked"
    assert fleet.fetch(lambda: DATA) is None, "nothing is new"
    again = Fleet(path)
    assert len(again) == 3 and again.terminal("1").plate == "辽A00001" and again.terminal("3").blocked
    assert again.conflict("2", ("辽A00001", 2), only_known=False) is not None


@pytest.mark.parametrize("content", [b"", b"{", b'{"terminals": 3}', b"\xff"])
def test_a_damaged_copy_counts_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fleet.json"
    path.write_bytes(content)
    assert len(Fleet(path)) == 0
