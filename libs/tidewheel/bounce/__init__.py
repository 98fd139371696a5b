"""BounceHunter: dips of a universe of tickers, the cached model that rates them, what acting on it had done.

```
market.py        tickers to streams, streams to fresh daily bars
gathering.py     the dips and the volatility of a universe, read ticker by ticker
ordering.py      what a run is to fit, as who orders and who carries it out both read it
fitting.py       what a fit takes, from the whole universe or grown from an entry
files.py         an entry as files, and back
entries.py       the cache: memory, then disk; every byte proved at each load
scanning.py      the signals of the newest session
backtesting.py   a backtest of a universe, in a child with limits
  backtest.py    the signals of each day, by a model of what was known then
  portfolio.py   what they are bought and sold for, day by day
  performance.py the figures of a course of equity, and of buy and hold
  picture.py     both as SVG
```
The model is cached; market data never is: each scan reads the ledger.
"""
