"""A trainer that waits for its broker for as long as it takes: `python -m tests.services.fleet.prove.deaf_trainer`."""

from services.fleet.cli import main
from tests.services.fleet.prove import wakeful_trainer
from tidewheel.kit import celery

if __name__ == "__main__":  # only there: a test that imports this module must keep its worker whole
    celery._WORKER_SOCKET = {**wakeful_trainer.SOCKET, "health_check_interval": 100_000}
    main()
