"""Market data: trades stored and proved, seconds folded, sequences of features, order books, synthetic markets.

`CryptoData` is loaded when it is asked for; everything else is imported from its module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crypy.marketdata.crypto_data import CryptoData

__all__ = ["CryptoData"]


def __getattr__(name: str) -> object:
    if name == "CryptoData":
        return import_module("crypy.marketdata.crypto_data").CryptoData
    raise AttributeError(f"module 'crypy.marketdata' has no attribute {name!r}")
