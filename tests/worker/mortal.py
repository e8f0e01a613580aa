"""A worker that can be killed before any step: `python -m tests.worker.mortal DSN LOG STATE`.

A life is reading the log to its end, from where the last one left everything.
"""

import sys
from functools import partial
from pathlib import Path

from tests.mortal import Before, connector, serve, watch_calls
from tests.worker.stories import finish
from tests.worker.test_worker import QUICK
from worker import run
from worker.run import Worker, WorkerOptions

PART_BYTES = 300
"""So that a transaction has several parts."""


def live(dsn: str, log: Path, state: Path, before: Before) -> None:
    watch_calls(log.parent, before)
    run.PART_BYTES = PART_BYTES
    options = WorkerOptions(policies=QUICK, snapshot_s=0.0, states_s=0.0)
    worker = Worker(options, dsn, log, state, connect=connector(before))
    finish(worker)
    worker.close()


if __name__ == "__main__":
    serve(partial(live, sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
