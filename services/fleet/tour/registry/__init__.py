"""`tidewheel tour registry`: models that a user brings and models that are trained, from file to measured forecast."""
