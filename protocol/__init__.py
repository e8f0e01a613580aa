"""JT/T 808 as values: bytes ↔ messages, for either side of a link, without I/O, clock or logging.

Inside out: `frame` (one unit of the wire) · `deframer` (frames out of a stream) · `messages` and `items`
(what bodies mean, by `edition`; alarm and status bits in `words`) · `connection` (a link, scalar) ·
`columns` (whole batches) · `jsonl` (records for people and tests).
"""

import protocol.messages  # noqa: F401 - so that the registries are complete whatever is imported first
