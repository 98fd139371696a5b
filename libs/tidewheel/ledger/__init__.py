"""The truth: streams, bars, leases, claims, runs, versions and promotions, on SQLite and Postgres."""
