"""`python -m tests.sql_mutants`: plant slips in the ledger's SQL, and show what the tests find. Minutes."""

import argparse
import sys
from collections import Counter

import pytest

from tests.sql_mutants.equivalent import reason
from tests.sql_mutants.hunt import Hunt

_ORACLE = ("tests/libs/ledger", "tests/services/fleet/prove/test_zombies.py", "tests/services/ingester")


def main() -> int:
    """0 where every slip was found that changes anything."""
    parser = argparse.ArgumentParser(prog="sql_mutants", description=__doc__)
    parser.add_argument("tests", nargs="*", default=_ORACLE, help="the tests that should find them")
    parser.add_argument("--sample", type=int, help="how many slips; all by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--places", nargs="*", default=(), help="only in these modules, or module.function")
    parser.add_argument("--slips", nargs="*", default=(), help="only those whose name begins so")
    parser.add_argument("-k", default="", help="only tests of this name, as for pytest")
    asked = parser.parse_args()
    hunt = Hunt(asked.sample, asked.seed, asked.places, asked.slips)
    code = pytest.main([*asked.tests, "-k", asked.k, "-p", "no:xdist", "--timeout=0"], plugins=[hunt])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return int(code)
    survivors = {each for each, noticed in hunt.found.items() if not noticed}
    same = {each for each in survivors if reason(each)}
    planted = Counter(each.place.partition(".")[0] for each in hunt.found)
    for name, count in [*sorted(planted.items()), ("all", len(hunt.found))]:
        of_it = {each for each in survivors if name in ("all", each.place.partition(".")[0])}
        print(f"{name:12} {count:4} planted {count - len(of_it):4} found {len(of_it & same):3} equivalent "
              f"{len(of_it - same):3} SURVIVED")  # fmt: skip
    for each in sorted(survivors - same):
        print(f"SURVIVED {each}\n    line {each.line}: {each.code}")
    return int(bool(survivors - same or not hunt.found))


if __name__ == "__main__":
    sys.exit(main())
