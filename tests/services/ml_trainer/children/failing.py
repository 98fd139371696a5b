"""A fit that says why and fails."""

import sys

sys.stderr.write("Traceback: of no interest\nthe market went home\n")
sys.exit(3)
