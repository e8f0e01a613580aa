"""The additional items of location reports, one file for each standard that adds some.

To declare one, add an `item(…)` line to a file of this folder; the folder loads itself.
"""

from importlib import import_module
from pkgutil import iter_modules

from protocol.item import ITEMS, ItemChain, ItemType, item_key

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["ITEMS", "ItemChain", "ItemType", "item_key"]
