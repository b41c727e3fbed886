"""Training and judging direction models."""
