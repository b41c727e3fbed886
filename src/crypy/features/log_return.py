"""The log return, where it was first looked for."""

from crypy.features.indicators.log_return import LogReturn

__all__ = ["LogReturn"]
