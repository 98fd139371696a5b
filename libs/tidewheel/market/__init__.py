"""Exchanges: the ccxt adapter, its rate limiter, and the engine of the simulated exchange."""
