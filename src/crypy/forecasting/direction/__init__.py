"""The direction forecaster: predicts the next closed candle, records, and judges itself. It cannot trade."""
