"""What an attack is given, and which attacks there are."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from tests.hostile import attacks
from tests.hostile.link import Link
from tests.hostile.service import Service
from tests.hostile.watch import Watch


@dataclass(frozen=True)
class Target:
    """The service under attack, and those who are watched meanwhile."""

    service: Service
    watch: Watch
    is_long: bool
    """Attack in full size, not only once to see that it works."""

    def connect(self, *, source: str = "127.0.0.1") -> Link:
        """Open a link to the port for terminals, from any address of 127.0.0.0/8."""
        return Link(self.service.port, source=source)


@dataclass(frozen=True)
class Attack:
    """One file in `attacks/`."""

    name: str
    tried: str
    run: Callable[[Target], str]
    settings: dict[str, str]


def all_attacks() -> list[Attack]:
    """Return every attack, those with equal settings together."""
    names = [each.name for each in pkgutil.iter_modules(attacks.__path__)]
    found = [_attack(name, importlib.import_module(f"{attacks.__name__}.{name}")) for name in names]
    return sorted(found, key=lambda each: (sorted(each.settings.items()), each.name))


def _attack(name: str, module: ModuleType) -> Attack:
    tried = (module.__doc__ or name).splitlines()[0]
    return Attack(name, tried, module.attack, getattr(module, "SETTINGS", {}))
