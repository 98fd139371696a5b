"""Parameter control in the ledger: presets, decisions, outcomes, posteriors, kill switches. See README.md."""
