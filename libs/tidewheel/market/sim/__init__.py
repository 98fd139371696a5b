"""The simulated exchange: a virtual clock over synthetic or recorded candles, without its HTTP face."""
