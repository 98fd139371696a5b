"""`tidewheel doctor`: whether this machine, these settings and what they name can run the fleet."""
