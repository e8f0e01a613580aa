"""`northwatch gateway` on a disk that needs long: run it as `python -m tests.faults.slow_gateway`."""

import time
from functools import partial

from northwatch import wiring
from northwatch.config import load
from store.log import LogWriter
from store.storage import Disk, DiskFile

SYNC_S = 0.3


class SlowFile(DiskFile):
    """A file whose syncs take long."""

    def sync(self) -> None:
        time.sleep(SYNC_S)
        super().sync()


class SlowDisk(Disk):
    """A disk of such files."""

    def create(self, *args: object) -> SlowFile:
        return SlowFile(super().create(*args)._descriptor)  # type: ignore[arg-type]


if __name__ == "__main__":
    setattr(wiring, "LogWriter", partial(LogWriter, storage=SlowDisk()))  # noqa: B010
    wiring.run_gateway(load())
