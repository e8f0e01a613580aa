"""The gateway as a benchmark runs it: the shipped one, or the same one on a log that keeps nothing.

    python -m benchmarks.server PORT DIRECTORY [--no-log]

`--no-log` exists here and nowhere in the product: it answers what no disk has seen, to measure the log's
price.
"""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from gateway.lobby import LobbyLimits
from gateway.server import Gateway, GatewayOptions
from store.log import LogLimits, LogState, LogWriter
from store.records import Event, Frames, encode


class NoLog:
    """Encodes records like the real log, so that only writing and syncing are saved, and forgets them."""

    shortage = ""

    def __init__(self) -> None:
        self.position = 0

    def append(self, record: Frames | Event, received_at_us: int) -> int:
        self.position += len(encode(record)[1])
        return self.position

    def sync(self) -> int:
        return self.position

    def trim(self) -> int:
        return 0

    def state(self) -> LogState:
        return LogState(self.position, 0, 0, 0, 1 << 40, 1 << 40, 0, 0, "")


async def main(port: int, directory: Path, with_log: bool) -> None:
    log = LogWriter(directory / "log" / "0", limits=LogLimits(free_floor_bytes=0)) if with_log else NoLog()
    lobby = LobbyLimits(most=1_000_000)  # a fleet that nobody entered
    gateway = Gateway(GatewayOptions(data_dir=directory, host="127.0.0.1", port=port, lobby=lobby), log)
    await gateway.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    await stop.wait()
    await gateway.stop()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2]), "--no-log" not in sys.argv))
