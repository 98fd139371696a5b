"""BounceHunter: dips of a universe of tickers, the cached model that rates them, what acting on it had done.

```
market.py     tickers to streams, streams to fresh daily bars
gathering.py  the dips and the volatility of a universe, read ticker by ticker
fitting.py    what a fit takes, from the whole universe or grown from an entry
entries.py    the cache: memory, then disk; every byte proved at each load
scanning.py   the signals of the newest session
```
The model is cached; market data never is: each scan reads the ledger.
"""
