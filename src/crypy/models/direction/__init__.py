"""Direction models: the chances that the next candle closes higher or lower."""
