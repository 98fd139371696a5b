"""Promises, shown: each function breaks what it can and counts what did not hold."""
