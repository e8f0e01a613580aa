"""A flood of reports with bodies of five bytes: each of them would be a row of quarantine."""

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.service import until

TERMINAL = "13700000009"
AT_ONCE = 500
COUNTED = (
    "SELECT count(*) FROM quarantine_counts JOIN terminals ON terminals.id = terminal_id"
    " WHERE identity = %s AND things > kept"
)
ROWS = (
    "SELECT count(*) FROM quarantine JOIN terminals ON terminals.id = terminal_id"
    " WHERE identity = %s AND reason = 'short_body'"
)


def attack(target: Target) -> str:
    """Send as many as are taken; where the service cuts the link, over another one."""
    many, sent, links = 200_000 if target.is_long else 3_000, 0, 0
    while sent < many and links < many // AT_ONCE:
        links += 1
        with target.connect() as link:
            try:
                while sent < many:
                    frames = [wire.frame(TERMINAL, 0x0200, bytes(5), sent + n) for n in range(AT_ONCE)]
                    link.send(b"".join(frames))
                    answered = len(link.answers(AT_ONCE, 10.0))
                    sent += answered
                    if answered < AT_ONCE:
                        break
            except OSError:
                continue
    if sent > AT_ONCE:  # else the service took too few to be flooded
        until(lambda: target.service.row(COUNTED, TERMINAL)[0], "bodies that are counted and not kept")
    (rows,) = target.service.row(ROWS, TERMINAL)
    assert rows <= 2 * 100, f"{rows} rows of {sent} bodies, which were of one reason and two hours at most"
    return f"{sent:,} bodies over {links} links, {rows} kept"
