"""A trainer that asks after a silent broker sooner: `python -m tests.services.fleet.prove.wakeful_trainer`."""

from services.fleet.cli import main
from tidewheel.kit import celery

SOCKET = {"socket_timeout": 2, "socket_connect_timeout": 2, "health_check_interval": 2}

if __name__ == "__main__":  # only there: a test that imports this module must keep its worker whole
    celery._WORKER_SOCKET = SOCKET
    main()
