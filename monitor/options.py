"""What a monitor must be told: plain values, so that a test builds one in a line."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from gateway.addresses import LOOPBACK, Network
from store.quarantine import Limits

SecondFactor: TypeAlias = Literal["off", "optional", "administrators", "all"]


@dataclass(frozen=True, slots=True)
class MapOptions:
    """The map with which the page begins. Without `tiles_url` it draws its built-in land and water."""

    tiles_url: str | None = None
    """`https://…/{z}/{x}/{y}…`, for example of 天地图 with its key."""
    tiles_attribution: str = ""
    center: tuple[float, float] = (122.6, 41.3)
    """Longitude and latitude, WGS-84 degrees: Liaoning."""
    zoom: float = 6.5


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """The settings of one monitor process."""

    database_url: str
    web_dir: Path | None = None
    """The built page (`web/dist`); None serves the API alone."""
    gateway_url: str | None = "http://127.0.0.1:9611"
    """Where the gateway's `/healthz` and `/metrics` are; None where there is none to ask."""
    sibling_urls: tuple[str, ...] = ()
    """… and those of further gateway processes."""
    worker_url: str | None = "http://127.0.0.1:9612"
    keeper_url: str | None = "http://127.0.0.1:9613"
    data_dir: Path | None = None
    """Where archive, log and media are; None where this machine has none."""
    events_url: str | None = None
    """None where no broker is told of events."""
    version: str = ""
    quarantine_bytes: int = Limits().most_bytes
    """As many as quarantine may have."""
    policy: str = "open"
    """The gateway's policy, for the page to say what the lobby is for."""
    secure_cookie: bool = False
    """Pages reach us by HTTPS only, also where a proxy hides that from us: the cookie is sent so, and an
    origin is one of `https://`."""
    is_https: bool = False
    """We speak HTTPS ourselves."""
    sign_in_lasts: timedelta = timedelta(hours=12)
    second_factor: SecondFactor = "optional"
    """Who must have one besides whoever wants to; `off`: it is asked of nobody."""
    proxies: tuple[Network, ...] = ()
    """Who is believed about whose request it passes on."""
    scrapers: tuple[Network, ...] = LOOPBACK
    """Who may read the metrics."""
    trusted_origins: frozenset[str] = frozenset()
    """Origins besides our own whose pages may change things, for a page served elsewhere."""
    map: MapOptions = field(default_factory=MapOptions)
