"""The model registry in the ledger: registered models, their aliases, their predictions. See README.md."""
