"""`make bench`: every measurement in turn. `make bench BENCH="gateway path"` runs some of them."""

import importlib
import sys

PARTS = ("codec", "log", "gateway", "ingest", "path")

for part in sys.argv[1:] or PARTS:
    if part not in PARTS:
        sys.exit(f"There is no benchmark {part!r}; there are {', '.join(PARTS)}")
    print(f"\n## {part}\n", flush=True)
    importlib.import_module(f"benchmarks.{part}").main([])
