"""Distributions of returns: the skewed Student t, curves over the horizon, settlement probabilities, proper scores.

`ZeroMeanSkewStudentT` is loaded when it is asked for; everything else is imported from its module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crypy.distributions.skew_t import ZeroMeanSkewStudentT

__all__ = ["ZeroMeanSkewStudentT"]


def __getattr__(name: str) -> object:
    if name == "ZeroMeanSkewStudentT":
        return import_module("crypy.distributions.skew_t").ZeroMeanSkewStudentT
    raise AttributeError(f"module 'crypy.distributions' has no attribute {name!r}")
