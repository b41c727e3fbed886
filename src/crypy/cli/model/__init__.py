"""`crypy model`: the life of a forecast, from data to what is deployed."""

from __future__ import annotations

from crypy.cli.options import plain_app

app = plain_app(
    "Models of return distributions. Example: crypy model train --source minutes/ --symbols BTCUSDT,ETHUSDT --end 2025-07-01"
)
