"""What plug-in authors and tests use: checks of models and features, clocks that jump, made-up reports. No product code imports it.

`check_model` and `check_feature` are loaded when they are asked for; everything else is imported from its module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from crypy.testing.feature_checks import check_feature
    from crypy.testing.model_checks import check_model

__all__ = ["check_feature", "check_model"]

_MODULES: Final = {"check_feature": "crypy.testing.feature_checks", "check_model": "crypy.testing.model_checks"}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'crypy.testing' has no attribute {name!r}")
