"""Reading again only what changed: rows that transactions wrote which were not yet visible the last time.

A row carries the number of the transaction that wrote it (`xmin`), and a snapshot tells the oldest one still
running, the **horizon**. So nothing slips through when a transaction that began early commits late, as it
does with a cursor over `updated_at`. A row that another transaction only locked keeps its xmin; what was
frozen long ago is older than any horizon.

Ask for the horizon and for what is new in one REPEATABLE READ transaction. Some rows come a second time. Rows
that were deleted are not seen.
"""

from typing import LiteralString

HORIZON: LiteralString = "SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text AS horizon"
IS_NEW: LiteralString = "age(xmin) <= age(%(horizon)s::xid)"
"""A condition on the rows of one table."""
