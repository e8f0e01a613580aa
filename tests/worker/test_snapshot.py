"""Snapshots are exact while the fleet moves on, and a quiet log does not keep the disk busy."""

from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from worker import snapshot
from worker.fleet import Fleet
from worker.snapshot import CALM_BYTES_PER_S, SELDOM, Saver, Snapshot

LOG = UUID(int=1)
LEAST_S = 5.0


def fleet_of(terminals: int) -> Fleet:
    fleet = Fleet()
    for number in range(terminals):
        fleet.add(f"{13900000000 + number}", number + 1)
    fleet.grow()
    return fleet


def test_a_snapshot_is_of_the_moment_when_it_was_begun(tmp_path: Path) -> None:
    fleet, saver = fleet_of(1000), Saver(tmp_path, LEAST_S)
    fleet.terminals["mileage_km"] = 1.0
    saver.begin(Snapshot({LOG: 100}, fleet), 0.0)
    fleet.terminals["mileage_km"] = 2.0
    assert saver.finished(wait=True)
    saver.close()
    kept = snapshot.load(tmp_path)
    assert kept is not None
    assert kept.positions == {LOG: 100}
    assert set(kept.fleet.terminals["mileage_km"].tolist()) == {1.0}


def test_what_cannot_be_written_is_said_and_is_due_again(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file stands where the directory should be")
    saver = Saver(tmp_path / "state", LEAST_S)
    saver.begin(Snapshot({LOG: 100}, fleet_of(1)), 0.0)
    with pytest.raises(OSError, match="state"):
        saver.finished(wait=True)
    assert saver.is_due(1e9)
    saver.close()


@pytest.mark.parametrize(("log_bytes_per_s", "terminals"), [(40, 20), (40, 2000), (20_000, 2000)])
def test_snapshots_write_about_what_the_log_brings(
    log_bytes_per_s: int, terminals: int, tmp_path: Path
) -> None:
    fleet, saver = fleet_of(terminals), Saver(tmp_path, LEAST_S)
    size = sum(array.nbytes for array in fleet.to_arrays().values())
    begun = []
    for second in range(3600):
        saver.read(log_bytes_per_s)
        if saver.is_due(float(second)):
            saver.begin(Snapshot({LOG: second}, fleet), float(second))
            assert saver.finished(wait=True)
            begun.append(second)
    saver.close()
    allowed = 3600 * (log_bytes_per_s + CALM_BYTES_PER_S)
    assert len(begun) * size <= allowed + 2 * size
    assert min(np.diff(begun)) >= LEAST_S
    assert max(np.diff(begun)) <= SELDOM * LEAST_S
