"""What the predictor does, apart from HTTP."""
