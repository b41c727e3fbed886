"""Baselines beside the volatility baseline: climatology, season, EWMA, HAR, GARCH, each a kind of its own; what every model is printed beside."""
