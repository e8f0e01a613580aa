"""A migration that can be killed before any step: `python -m tests.store.mortal DSN`."""

import sys
from functools import partial

from store import schema
from tests.mortal import Before, connector, serve


def live(dsn: str, before: Before) -> None:
    with connector(before)(dsn) as connection:
        schema.migrate(connection)


if __name__ == "__main__":
    serve(partial(live, sys.argv[1]))
