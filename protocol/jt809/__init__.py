"""JT/T 809 as values: what vehicle platforms say to each other, beside JT/T 808, which terminals speak.

Inside out: `framing` (one unit of the wire, and frames out of a stream) · `cipher` (the body cipher) ·
`message` and `messages` (what bodies mean, by `dialect`) · `peer` (one other platform: how to write to it and
read from it) · `jsonl` (records for people and tests). Sans I/O, clock and logging, as all of `protocol`.

Source: JT/T 809-2011 and -2019, and JT/T 1078-2016 §9 and §10 for the video messages. Clauses are those of
2011, where every group of messages has one.
"""

import protocol.jt809.messages  # noqa: F401 - so that the registry is complete whatever is imported first
