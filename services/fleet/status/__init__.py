"""`tidewheel status`: how the fleet stands, and the screen that shows it."""
