"""Flower, Celery's dashboard, over our broker."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, SecretStr

from tidewheel.contracts.errors import BadSetting
from tidewheel.contracts.roles import Role
from tidewheel.kit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEV_ACCOUNT = "tidewheel:tidewheel"


class FlowerSettings(Settings):
    """What the role `flower` reads."""

    role: ClassVar[str] = Role.FLOWER

    flower_basic_auth: SecretStr | None = Field(
        None,
        validation_alias="FLOWER_BASIC_AUTH",
        description="user:password of Flower. AUTH_MODE=dev has tidewheel:tidewheel; AUTH_MODE=keys needs one.",
    )


def account(settings: FlowerSettings) -> tuple[str, str]:
    """User and password.

    Raises:
        BadSetting: there is none, or it is not of the form user:password.
    """
    given = settings.flower_basic_auth
    if given is None and settings.auth_mode != "dev":
        raise BadSetting("AUTH_MODE=keys needs an account for Flower: set FLOWER_BASIC_AUTH=user:password")
    user, colon, password = (given.get_secret_value() if given else _DEV_ACCOUNT).partition(":")
    if not (user and colon and password) or "," in password:
        raise BadSetting("FLOWER_BASIC_AUTH=*** is not of the form user:password (a password without commas)")
    return user, password


def run_flower(settings: FlowerSettings, port: int) -> None:
    """Run Flower in the foreground until SIGTERM."""
    from tidewheel.kit.celery import celery_app
    from tidewheel.kit.serve import listen

    listen(settings.listen, port).close()  # Flower would only log that the port is taken
    arguments: Sequence[str] = (
        "--quiet",
        "flower",
        f"--address={settings.listen}",
        f"--port={port}",
        f"--basic_auth={':'.join(account(settings))}",
    )
    celery_app(settings.redis_url).start(list(arguments))
