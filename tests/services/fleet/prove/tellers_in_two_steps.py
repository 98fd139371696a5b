"""Tellers that record the outcome in one transaction and the posterior in the next: a kill between loses the latter."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from services.fleet.prove.programs.tellers import main
from tidewheel.ledger.control import learning
from tidewheel.ledger.control.learning import Lesson
from tidewheel.ledger.control.pairs import Pair, write_posteriors
from tidewheel.ledger.engine import Database

_remember = Lesson.remember


def _later(db: Database, connection: Connection, pair: Pair, taught: Mapping[tuple[str, str], Any]) -> None:
    """Not now."""


def _in_two_steps(self: Lesson) -> None:
    time.sleep(0.02)
    with self._db.write() as connection:
        for key, taught in self._taught.items():
            write_posteriors(self._db, connection, self._pairs[key], taught)
    _remember(self)


if __name__ == "__main__":  # only there: a test that imports this module must keep its ledger whole
    vars(learning)["write_posteriors"] = _later
    Lesson.remember = _in_two_steps  # type: ignore[method-assign]
    main()
