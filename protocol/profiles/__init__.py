"""Profiles of terminals, one file for each kind of difference from the standard.

To declare one, add a `profile(…)` call to a file of this folder; the folder loads itself.
"""

from importlib import import_module
from pkgutil import iter_modules

from protocol.profile import PROFILES, STANDARD, Devices, Profile, profile_named, profile_of

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["PROFILES", "STANDARD", "Devices", "Profile", "profile_named", "profile_of"]
