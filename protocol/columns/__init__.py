"""Columns: the hot messages of a whole batch read, checked and answered at once.

`scan` finds the frames in what many links have sent; `FrameBatch.from_plain` takes those that the log has
kept. `locations` reads every location report in a batch into a `PositionBatch`, and `general_replies` answers
frames with 0x8001. All of it is derived from the construct declarations and held by tests to what they and
the scalar `Deframer` say about the same bytes.
"""

from protocol.columns.batch import FrameBatch
from protocol.columns.identities import as_plain, identities
from protocol.columns.items import Items
from protocol.columns.locations import (
    BadBody,
    PositionBatch,
    batch_locations,
    body_hashes,
    locations,
    single_locations,
)
from protocol.columns.replies import general_replies
from protocol.columns.scan import Rejection, WireBatch, rejoin, scan

__all__ = [
    "BadBody",
    "FrameBatch",
    "Items",
    "PositionBatch",
    "Rejection",
    "WireBatch",
    "as_plain",
    "batch_locations",
    "body_hashes",
    "general_replies",
    "identities",
    "locations",
    "rejoin",
    "scan",
    "single_locations",
]
