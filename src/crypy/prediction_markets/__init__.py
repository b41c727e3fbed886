"""Prediction markets: what a settlement is worth, the decision (view -> plan), the engines and their manager."""
