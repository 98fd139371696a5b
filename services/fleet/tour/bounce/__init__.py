"""`tidewheel tour bounce`: dips of made tickers, from files to signals, a model that is kept, and its backtest."""
