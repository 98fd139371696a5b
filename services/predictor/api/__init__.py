"""HTTP face of the predictor, port 8004."""
