"""Roles of the fleet and their ports."""

from enum import StrEnum


class Role(StrEnum):
    """What `tidewheel serve ROLE` can be."""

    EDGE = "edge"
    INGESTER = "ingester"
    PARAM_CONTROLLER = "param-controller"
    ML_TRAINER = "ml-trainer"
    PREDICTOR = "predictor"
    WORKER = "worker"
    TRAINER = "trainer"
    KEEPER = "keeper"
    FLOWER = "flower"
    EXCHANGE_SIM = "exchange-sim"


#: Ports that a role listens on by default; `--port-base` moves them together. Roles without one have no HTTP face.
PORTS: dict[Role, int] = {
    Role.EDGE: 8000,
    Role.INGESTER: 8001,
    Role.PARAM_CONTROLLER: 8002,
    Role.ML_TRAINER: 8003,
    Role.PREDICTOR: 8004,
    Role.FLOWER: 5555,
}
