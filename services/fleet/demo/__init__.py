"""`tidewheel demo`: the loop once, end to end."""
