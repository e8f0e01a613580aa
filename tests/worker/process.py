"""A worker as a process of its own, to be killed: `python -m tests.worker.process DSN LOG STATE`."""

import sys
import threading
from pathlib import Path

from tests.worker.test_worker import QUICK
from worker.run import Worker, WorkerOptions


def main(dsn: str, log: str, state: str) -> None:
    options = WorkerOptions(policies=QUICK, batch_bytes=1000, snapshot_s=0.02, states_s=0.01)
    worker = Worker(options, dsn, Path(log), Path(state))
    print("ready", flush=True)
    worker.run(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
