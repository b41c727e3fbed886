"""Kraken spot: past and live candles, trades and order books. Import from the modules."""
