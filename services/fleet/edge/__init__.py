"""The edge: one address for the fleet."""
