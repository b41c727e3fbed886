"""Bybit v5, spot and linear: live candles, trades and books, and past candles. No keys are used or needed."""
