"""What a batch of the log means: values, ready to be written in one transaction."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from store.alarms import Change as AlarmChange
from store.claims import Claim, Proof, Renewed
from store.clones import Clone
from store.links import LinkEvent
from store.media import Medium
from store.messages import Message
from store.pieces import Changes as PieceChanges
from store.positions import PositionRows, Prepared
from store.quarantine import Bucket, Quarantined
from store.terminals import Registration
from store.tickets import Change as TicketChange


@dataclass(slots=True)
class Facts:
    """Filled by `worker.digest`, written by `worker.commit`. Lists are in order of the log."""

    decided: tuple[int, int] | None = None
    """A version of what people decide that has its place here, and when."""
    positions: PositionRows | None = None
    prepared: Prepared | None = None
    """The positions, where somebody did already what needs no connection."""
    source: Callable[[int], list[Quarantined]] = lambda _: []
    """Gives what brought a position, for quarantine where a different one has its key."""
    quarantined: list[Quarantined] = field(default_factory=list)
    only_counted: Counter[Bucket] = field(default_factory=Counter)
    """How much more there was, of which nothing is kept."""
    messages: list[Message] = field(default_factory=list)
    media: list[Medium] = field(default_factory=list)
    pieces: PieceChanges = field(default_factory=PieceChanges)
    links: list[LinkEvent] = field(default_factory=list)
    clones: list[Clone] = field(default_factory=list)
    renewed: list[Renewed] = field(default_factory=list)
    """Before any of the claims."""
    claims: list[Claim] = field(default_factory=list)
    registrations: list[tuple[int, Registration | Proof]] = field(default_factory=list)
    """Each with the number of its frame among those of the batch; a proof makes one of its claim."""
    returned: list[int] = field(default_factory=list)
    """terminals.id of those that were forgotten and are heard again."""
    editions: dict[int, str] = field(default_factory=dict)
    """terminals.id → the edition by which it speaks from now on."""
    authenticated: dict[int, int] = field(default_factory=dict)
    """terminals.id → when it last authenticated."""
    alarms: list[AlarmChange] = field(default_factory=list)
    tickets: list[TicketChange] = field(default_factory=list)

    @property
    def is_visible(self) -> bool:
        """Somebody who looks at a screen should see it now."""
        several = (self.alarms, self.tickets, self.links, self.clones, self.claims, self.registrations)
        return any(several)
