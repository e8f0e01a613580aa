"""The parameters of terminals, one file for each standard that adds some.

To declare one, add a `parameter(…)` line to a file of this folder; the folder loads itself.
"""

from importlib import import_module
from pkgutil import iter_modules

from protocol.parameter import DETAILS, PARAMETERS, ParameterList, ParameterType, parameter_key

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["DETAILS", "PARAMETERS", "ParameterList", "ParameterType", "parameter_key"]
