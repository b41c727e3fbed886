"""Compiled folds that indicators share: each runs over one row or over years, and carries its memory between calls."""
