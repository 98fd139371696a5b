"""The simulated exchange: its HTTP face, and the caller of its clock."""
