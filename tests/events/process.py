"""A publisher as a process of its own, to be killed: `python -m tests.events.process DSN URL`."""

import asyncio
import sys

from northwatch.events.broker import parse
from northwatch.events.publisher import EventOptions, Publisher


def main(dsn: str, url: str) -> None:
    asyncio.run(Publisher(EventOptions(parse(url)), dsn).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
