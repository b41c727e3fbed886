"""crypy forecasts the distribution of crypto returns every second, and trades on it.

The names a data scientist imports are here; each is loaded when it is first used, so that
`import crypy` costs milliseconds and never pulls in a model framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crypy.distributions import ZeroMeanSkewStudentT
    from crypy.marketdata import CryptoData
    from crypy.models import load_model

__version__ = "0.1.0"

__all__ = ["CryptoData", "ZeroMeanSkewStudentT", "__version__", "load_model"]

_HOME = {
    "CryptoData": "crypy.marketdata",
    "ZeroMeanSkewStudentT": "crypy.distributions",
    "load_model": "crypy.models",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'crypy' has no attribute {name!r}")
