import pytest

from tidewheel.kit import logs
from tidewheel.kit.settings import Settings, load


@pytest.fixture(autouse=True)
def _logs() -> None:
    logs.configure(load(Settings, log_format="json"))
