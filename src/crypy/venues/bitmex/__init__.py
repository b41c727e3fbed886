"""BitMEX (reported closed since September 2026): past and live candles, trades, quotes and order books. Import from the modules."""
