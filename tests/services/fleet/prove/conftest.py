"""Where the quick forms work: the session's Postgres, and a folder of their own."""

from pathlib import Path

import pytest

from services.fleet.prove.ground import Ground
from services.fleet.prove.proof import Budget, Tell
from services.fleet.prove.proofs import PROOFS
from tests.servers import PostgresServer

QUICK = {proof.name: proof.quick for proof in PROOFS}


@pytest.fixture
def ground(postgres_server: PostgresServer, tmp_path: Path) -> Ground:
    """A ground of this test alone."""
    return Ground(tmp_path, postgres_server.url)


@pytest.fixture
def budget(ground: Ground, request: pytest.FixtureRequest) -> Budget:
    """The quick form of the proof after which the test's module is named."""
    name = request.module.__name__.rpartition("test_")[2]
    return Budget(trials=QUICK[name], seed=1, ground=ground)


@pytest.fixture
def tell() -> Tell:
    """A proof's progress, checked instead of shown: it is a fraction."""

    def check(fraction: float, text: str = "") -> None:
        assert 0.0 <= fraction <= 1.0, text

    return check
