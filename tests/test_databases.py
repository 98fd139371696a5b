"""The databases that tests get."""

import copy

import psycopg
import pytest

from tests.databases import Databases
from tests.servers import PostgresServer


def test_a_fork_leaves_its_parents_database_alone(postgres_server: PostgresServer, postgres_template: str) -> None:
    """Hunts for slips run tests in forks, at whose end the parent's next fork must find the server as it was."""
    parent = Databases(postgres_server, postgres_template)
    with parent.fresh() as first:
        pass
    fork = copy.copy(parent)
    fork._owner = 0  # as in a fork: it remembers what its parent did, under another pid
    with fork.fresh() as own:
        assert own != first
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(own.replace("postgresql+psycopg://", "postgresql://"))
    with parent.fresh() as again:
        assert again == first
    parent.close()
