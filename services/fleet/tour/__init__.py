"""`tidewheel tour NAME`: one part of the product shown at work on a simulated market, in minutes."""
