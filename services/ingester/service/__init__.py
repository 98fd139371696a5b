"""What the ingester does: bring streams up to date, and fetch what lies before them."""
