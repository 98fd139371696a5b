"""Slips planted in the SQL that the ledger really executes, and the count of those that the tests find."""
