"""A replay as a process of its own, to be killed: `python -m tests.keeper.replaying DSN DATA_DIR NUMBER`."""

import sys
from pathlib import Path

import psycopg

from keeper import replay
from keeper.replay import Reading, ReplayBusy, ReplayOptions


def main(dsn: str, data_dir: str, number: int) -> None:
    options = ReplayOptions(dsn, Path(data_dir), batch_bytes=6000, stretch_s=0.0)
    replay.ADOPTED_AT_ONCE = 40  # type: ignore[misc]
    stage = ""
    while stage != "adopted":
        try:
            with Reading(options, number) as reading:
                while reading.step():
                    print("read", flush=True)
            replay.compare(options, number)
            print("compared", flush=True)
            stage = replay.adopt(options, number, "test", lambda *_: print("adopted", flush=True)).stage
        except (ReplayBusy, psycopg.OperationalError):  # the server has not noticed that the last one is gone
            continue


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
