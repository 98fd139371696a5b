"""Pure functions from stored bars to what models read; training and serving share them."""
