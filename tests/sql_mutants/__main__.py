"""`python -m tests.sql_mutants`: plant slips in the ledger's SQL, and show what the tests find. Minutes."""

import argparse
import sys
from collections import Counter

import pytest

from tests.sql_mutants.equivalent import reason
from tests.sql_mutants.hunt import Hunt, Outcome

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
    hunt = Hunt(asked.sample, asked.seed, asked.places, asked.slips, lambda mutant: reason(mutant) is not None)
    code = pytest.main([*asked.tests, "-k", asked.k, "-p", "no:xdist", "--timeout=0"], plugins=[hunt])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return int(code)
    counted: dict[str, Counter[Outcome]] = {}
    for mutant, outcome in hunt.outcomes.items():
        for name in (mutant.place.partition(".")[0], "all"):
            counted.setdefault(name, Counter())[outcome] += 1
    for name in sorted(counted, key=lambda each: (each == "all", each)):
        parts = "".join(f"{counted[name][outcome]:5} {outcome}" for outcome in Outcome)
        print(f"{name:12}{counted[name].total():5} planted{parts}")
    survivors = sorted(mutant for mutant, outcome in hunt.outcomes.items() if outcome is Outcome.SURVIVED)
    for mutant in survivors:
        print(f"SURVIVED {mutant}\n    line {mutant.line}: {mutant.code}")
    return int(bool(survivors or not hunt.outcomes))


if __name__ == "__main__":
    sys.exit(main())
