"""`crypy model`: the life of a forecast, from data to what is deployed."""

from __future__ import annotations

from crypy.cli.model import check, evaluate, listing, predict, promote, train, tune
from crypy.cli.options import plain_app

app = plain_app(
    "Models of return distributions. Example: crypy model train --source minutes/ --symbols BTCUSDT,ETHUSDT --end 2025-07-01"
)
app.command("check")(check.check)
app.command("eval")(evaluate.evaluate)
app.command("tune")(tune.tune)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("promote")(promote.promote)
app.command("demote")(promote.demote)
app.command("list")(listing.list_models)
app.command("show")(listing.show)
