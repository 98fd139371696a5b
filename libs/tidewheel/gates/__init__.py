"""The promotion gate: an ordered list of pure steps, and what they score by."""
