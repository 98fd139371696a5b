import pytest

from tests.redis_server import redis_server, redis_url
from tidewheel.kit import logs
from tidewheel.kit.settings import Settings, load

__all__ = ["redis_server", "redis_url"]


@pytest.fixture(autouse=True)
def _logs() -> None:
    logs.configure(load(Settings, log_format="json"))
