"""The laws that corrections are added to are what the baseline predicts, bit for bit."""

from __future__ import annotations

import numpy as np
from trainer_kit import small_dataset

from crypy.models.fitting import fit_on
from crypy.training.base_laws import BaseLaws


def test_a_law_is_what_the_baseline_predicts_there() -> None:
    dataset = small_dataset()
    baseline = fit_on(dataset)
    origins_s = dataset.origins_s()
    laws = BaseLaws.of(baseline, dataset, origins_s)
    random = np.random.default_rng(1)
    rows = random.permutation(len(origins_s))[:40]
    horizons_s = np.sort(random.integers(1, 2_880, (len(rows), 5)), axis=1) * 60
    scale, skew, tail = laws.at(rows, horizons_s)
    assert scale.shape == (40, 2, 5)
    windows = dataset.windows(baseline.schema, origins_s[rows])
    for index in range(len(rows)):
        grid = baseline.predict(windows[index], horizons_s[index].astype(np.float64))
        assert np.array_equal(grid.scale, scale[index])
        assert np.array_equal(grid.skew, skew[index])
        assert np.array_equal(grid.tail, tail[index])
