"""From data to a deployed model: datasets, fitting, evaluation, tuning, promotion and the registry."""
