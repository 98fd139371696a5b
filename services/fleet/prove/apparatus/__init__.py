"""What proofs are made with: forged bundles, markets with a known truth, a line to cut, a model of the ledger."""
