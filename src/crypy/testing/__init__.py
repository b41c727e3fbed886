"""What plug-in authors and tests use: checks of models, clocks that jump, made-up reports. No product code imports it.

`check_model` is loaded when it is asked for; everything else is imported from its module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crypy.testing.model_checks import check_model

__all__ = ["check_model"]


def __getattr__(name: str) -> object:
    if name == "check_model":
        return import_module("crypy.testing.model_checks").check_model
    raise AttributeError(f"module 'crypy.testing' has no attribute {name!r}")
