"""A model's mean score on a range, in one number for each symbol and horizon: what an artefact's card and `crypy model train` tell.

No evaluation: for that see `crypy model eval`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from crypy.distributions.scores import nll
from crypy.models.artefact import Metric
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts
from crypy.models.port import Model

_MOST_SCORED: Final = 4_000


def mean_nll(model: Model, dataset: Dataset, most: int = _MOST_SCORED) -> tuple[Metric, ...]:
    """Mean negative log likelihood by symbol and horizon over origins of the dataset, thinned to at most about `most`."""
    every = max(1, -(-len(dataset.origins_s()) // most))
    thin = dataset.every(dataset.spacing_s * every)
    out: list[Metric] = []
    for symbol, cast in hindcasts(model, thin, np.array(dataset.horizons_s, np.float64)).items():
        for column, horizon_s in enumerate(cast.horizons_s):
            laws = (cast.scale[:, column], cast.skew[:, column], cast.tail[:, column])
            rows = np.isfinite(cast.returns[:, column]) & np.isfinite(laws[0])
            if rows.any():
                losses = nll(cast.returns[rows, column], *(law[rows] for law in laws))
                out.append(Metric(symbol, float(horizon_s), int(rows.sum()), float(losses.mean())))
    return tuple(out)
