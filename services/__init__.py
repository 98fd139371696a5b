"""The roles of the fleet."""
