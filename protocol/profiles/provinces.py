"""Dialects of active safety that provinces have made of T/JSATL 12-2017.

Items and messages tell nearly all of them by their length (`protocol.items.active_safety` and
`protocol.messages.safety`). A profile says which one is written, and which one is tried first.
"""

from protocol.media import SIM_BYTES, SIM_BYTES_2019
from protocol.messages.safety import OWN_ID, SU
from protocol.profile import profile

ATTACHMENTS = (0x1210, 0x9208)

for _dialect in OWN_ID:
    if _dialect != SU:
        profile(
            _dialect,
            f"{_dialect}主动安全 active safety of this province",
            layouts=dict.fromkeys(ATTACHMENTS, _dialect),
            # T/GDRTA 002-2020 table 5-36 alone widens the number of the SIM card.
            media_sim_bytes=SIM_BYTES_2019 if _dialect == "粤标" else SIM_BYTES,
        )
