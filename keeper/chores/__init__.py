"""The chores, one file each. Every module of this folder with a `CHORE` is loaded."""

from importlib import import_module
from pkgutil import iter_modules

from keeper.chore import Chore

_modules = [import_module(f"{__name__}.{each.name}") for each in iter_modules(__path__)]

CHORES: tuple[Chore, ...] = tuple(each.CHORE for each in _modules if hasattr(each, "CHORE"))
