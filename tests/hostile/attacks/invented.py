"""Numbers invented without end, over links that are opened again, from several addresses."""

from tests.hostile import wire
from tests.hostile.attack import Target

PER_HOUR = 100
MOST = 250
SETTINGS = {
    "GATEWAY__EXEMPT_NETWORKS": "[]",
    "LOBBY__PER_LINK": "50",
    "LOBBY__PER_ADDRESS_HOUR": str(PER_HOUR),
    "LOBBY__MOST": str(MOST),
}
LINKS = 4
IDENTITIES = 150
"""On each link."""


def attack(target: Target) -> str:
    """Register each, and report with every alarm; the lobby has what it has room for, and no more."""
    addresses = [f"127.0.9.{number}" for number in range(1, 21 if target.is_long else 4)]
    sent = admitted = 0
    for number, address in enumerate(addresses):
        before = admitted
        for link_number in range(LINKS):
            first = (number * LINKS + link_number) * IDENTITIES
            with target.connect(source=address) as link:
                for serial in range(first, first + IDENTITIES):
                    result, _ = link.ask(f"1374{serial:08}", 0x0100, wire.registration(""))
                    admitted += result == 0
                    report = wire.frame(
                        f"1374{serial:08}", 0x0200, wire.location(alarm_bits=0xFFFF_FFFF), serial
                    )
                    link.send(report)
                    sent += len(report)
                    if result == 0:
                        link.answer()
        assert admitted - before <= PER_HOUR, f"{address} brought {admitted - before}"
    assert 0 < admitted <= MOST
    target.watch.come_to_rest()
    (entries,) = target.service.row("SELECT count(*) FROM terminals WHERE identity LIKE '1374%%'")
    assert entries == admitted, "what was answered is kept, and nothing else"
    (alarms,) = target.service.row(
        "SELECT count(*) FROM alarms a JOIN terminals t ON t.id = a.terminal_id WHERE identity LIKE '1374%%'"
    )
    assert alarms == 0, f"{alarms:,} alarms of strangers"
    return f"{len(addresses) * LINKS * IDENTITIES:,} numbers, {admitted} let in, {sent:,} bytes"
