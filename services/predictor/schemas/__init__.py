"""Bodies of the predictor's routes, a file for each family of them."""
