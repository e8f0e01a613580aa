"""The local copy of the fleet."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import server
from gateway.fleet import PAGE, Fleet, FleetData, FleetNews, FleetTerminal, Plate
from gateway.sessions import Sessions
from tests.gateway.device import Device, running

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


NEWS = FleetNews(DATA.terminals, dict(enumerate(DATA.vehicles)), "horizon")


def test_the_copy_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    fleet = Fleet(path)
    fleet.refresh(lambda _: NEWS)
    assert fleet.take_judged_anew() == ["1", "2", "3"] and fleet.take_judged_anew() == []
    again = Fleet(path)
    assert len(again) == 3 and again.terminal("1").plate == "辽A00001" and again.terminal("3").blocked
    assert again.conflict("2", ("辽A00001", 2), only_known=False) is not None
    assert msgspec.json.decode(path.read_bytes(), type=FleetData) == DATA


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
def test_a_fleet_of_any_size_is_written_and_read(tmp_path: Path, count: int) -> None:
    path = tmp_path / "fleet.json"
    plates = [(f"辽A{number:05}", 2) for number in range(count)]
    terminals = {f"{number:X}": FleetTerminal(plate=plate) for number, (plate, _) in enumerate(plates)}
    fleet = Fleet(path)
    fleet.refresh(
        lambda _: FleetNews({"F0": FleetTerminal(known=True), **terminals}, dict(enumerate(plates)))
    )
    kept = msgspec.json.decode(path.read_bytes(), type=FleetData)
    assert len(kept.terminals) == len(fleet) and kept.vehicles == plates


def test_after_the_first_time_only_what_changed_is_asked_for(tmp_path: Path) -> None:
    asked: list[str | None] = []
    answers = [
        NEWS,
        FleetNews({}, {}, "second", is_whole=False),
        FleetNews({"2": FleetTerminal(blocked=True)}, {1: ("辽A00003", 2)}, "third", is_whole=False),
        RuntimeError("the database is away"),
        NEWS,
    ]

    def source(horizon: str | None) -> FleetNews:
        asked.append(horizon)
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    path = tmp_path / "fleet.json"
    fleet = Fleet(path)
    fleet.refresh(source)
    written = path.stat().st_ino
    fleet.refresh(source)
    assert path.stat().st_ino == written, "nothing is new"
    fleet._write_due = 0.0
    fleet.refresh(source)
    assert path.stat().st_ino != written and fleet.take_judged_anew() == ["1", "2", "3", "2"]
    assert fleet.conflict("2", ("辽A00003", 2), only_known=False) == fleet.conflict(
        "3", ("", 0), only_known=True
    )
    with pytest.raises(RuntimeError):
        fleet.refresh(source)
    fleet.refresh(source)
    assert asked == [None, "horizon", "second", "third", None], "whoever failed is asked for everything"


@given(st.data())
def test_changes_one_by_one_are_the_same_as_everything_at_once(data: st.DataObject) -> None:
    """Whatever people decide, however plates are spelled, and however many steps it is told in."""
    plates = st.tuples(st.sampled_from(["辽A1", "辽a 1", "辽A2", "辽·A2", ""]), st.integers(1, 2))
    terminal = st.builds(
        lambda known, blocked, plate: FleetTerminal(known, blocked, *plate),
        st.booleans(),
        st.booleans(),
        plates,
    )
    terminals = st.dictionaries(st.sampled_from("12345"), terminal, max_size=3)
    vehicles = st.dictionaries(st.integers(1, 3), plates, max_size=3)
    steps = data.draw(st.lists(st.tuples(terminals, vehicles), min_size=1, max_size=6))
    with TemporaryDirectory() as place:
        grown, whole = Fleet(Path(place) / "grown"), Fleet(Path(place) / "whole")
        now: tuple[dict[str, FleetTerminal], dict[int, Plate]] = ({}, {})
        for number, step in enumerate(steps):
            grown._take(FleetNews(*step, is_whole=number == 0))
            now = now[0] | step[0], now[1] | step[1]
        whole._take(FleetNews(*now))
        for identity in "123456":
            assert grown.terminal(identity) == whole.terminal(identity)
            for plate in ("辽A1", "辽A2", "辽A3", ""):
                for color in (1, 2):
                    for only_known in (True, False):
                        asked = [
                            each.conflict(identity, (plate, color), only_known=only_known)
                            for each in (grown, whole)
                        ]
                        assert [each.result if each else 0 for each in asked[:1]] == [
                            each.result if each else 0 for each in asked[1:]
                        ]


async def test_the_loop_does_the_same_for_any_fleet(tmp_path: Path) -> None:
    """Counted are calls on its thread while the fleet is read whole, and then by what changed."""
    counts = []
    for size in (2_000, 20_000):
        terminals = {
            f"{number:X}": FleetTerminal(known=True, plate=f"辽A·{number}", plate_color=2)
            for number in range(size)
        }
        plates = {number: (f"辽A·{number}", 2) for number in range(size)}
        changed = {f"{number:X}": FleetTerminal(blocked=True) for number in range(3)}

        def source(horizon: str | None, all_of_it: FleetNews, some: FleetNews) -> FleetNews:
            return all_of_it if horizon is None else some

        told = partial(
            source,
            all_of_it=FleetNews(terminals, plates, "next"),
            some=FleetNews(changed, {}, "next", is_whole=False),
        )
        async with running(tmp_path / str(size), fleet_refresh_s=3600.0) as gateway:
            for _ in range(2):
                calls = 0

                def count(frame: object, event: str, argument: object) -> None:
                    nonlocal calls
                    calls += event == "call"

                sys.setprofile(count)
                await gateway._refresh_fleet(told)
                sys.setprofile(None)
                counts.append(calls)
            assert len(gateway.fleet) == size and gateway.fleet.terminal("0").blocked
    assert max(counts) < 2_000, counts


async def test_many_that_are_blocked_at_once_leave_in_several_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "JUDGED_AT_ONCE", 2)
    at_once: list[int] = []
    judge = Sessions.judge

    def counted(self: Sessions, identities: list[str]) -> None:
        at_once.append(len(identities))
        judge(self, identities)

    monkeypatch.setattr(Sessions, "judge", counted)
    news = FleetNews({str(number): FleetTerminal(blocked=True) for number in range(1, 6)}, {})
    async with running(tmp_path, fleet_refresh_s=3600.0) as gateway:
        devices = [await Device.connect(gateway, str(number)) for number in range(1, 7)]
        for device in devices:
            assert await device.result(device.terminal.heartbeat()) == 0
        await gateway._refresh_fleet(lambda _: news)
        for device in devices[:5]:
            await device.closed()
        assert await devices[5].result(devices[5].terminal.heartbeat()) == 0
        assert at_once == [2, 2, 1]


@pytest.mark.parametrize("content", [b"", b"{", b'{"terminals": 3}', b"\xff"])
def test_a_damaged_copy_counts_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fleet.json"
    path.write_bytes(content)
    assert len(Fleet(path)) == 0


def test_what_a_killed_gateway_was_writing_is_removed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    of_the_dead = tmp_path / f"fleet.json.{child.pid}.new"
    others = [tmp_path / name for name in (f"fleet.json.{os.getpid()}.new", "fleet.json.1x.new", "other.new")]
    for path in (of_the_dead, *others):
        path.touch()
    Fleet(tmp_path / "fleet.json")
    assert not of_the_dead.exists()
    assert all(path.exists() for path in others)
