"""Settings: small, frozen, one class a service; read once, in `app.py`.

Order: environment, then `.env` in the working directory, then defaults. An empty value counts as unset, so that
compose's `${NAME:-}` passes nothing on. The variables that a service documents keep their names; ours begin with
`TIDEWHEEL_`.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tidewheel.contracts.errors import BadInput, BadSetting
from tidewheel.contracts.states import Purpose
from tidewheel.contracts.times import parse_time
from tidewheel.kit.masks import hide, mask_secrets

S = TypeVar("S", bound="Settings")

LOOPBACK = ("localhost", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    return host in LOOPBACK or host.startswith("127.")


def _absolute(path: Path) -> Path:
    if odd := sorted({*str(path)} & {*"?%"}):
        # In the ledger's address they mean something else, and it would lie in another file than it seems.
        raise ValueError(f"a path with {' and '.join(odd)} is no place for a ledger; choose another")
    return path.expanduser().absolute()


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _moment(value: object) -> object:
    try:
        return parse_time(value) if isinstance(value, str) else value
    except BadInput as problem:
        raise ValueError(problem.detail) from None


def _http_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as http://host:port")
    return value.rstrip("/")


def _redis_address(value: str) -> str:
    if urlsplit(value).scheme not in ("redis", "rediss"):
        raise ValueError("write it as redis://host:6379/0, or rediss:// for TLS")
    return value


def _dsn(value: str) -> str:
    """A bare path means SQLite; `postgres://` is the older spelling of `postgresql://`."""
    scheme = urlsplit(value).scheme if "://" in value else ""
    if not scheme:
        return f"sqlite:///{_absolute(Path(value))}"
    if scheme == "postgres":
        return value.replace("postgres://", "postgresql://", 1)
    if scheme.partition("+")[0] not in ("sqlite", "postgresql"):
        raise ValueError(f"{scheme} is not a ledger's database; write a path, sqlite:///PATH or postgresql://...")
    return value


#: a folder or file, made absolute so that every process of the fleet means the same one
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
#: `BTC/USDT,ETH/USDT`
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]
#: epoch milliseconds or ISO-8601, as UTC milliseconds
Moment = Annotated[int, BeforeValidator(_moment)]
#: `http://host:port`, without a slash at its end
HttpAddress = Annotated[str, AfterValidator(_http_address)]
#: `redis://host:port/number`
RedisAddress = Annotated[str, AfterValidator(_redis_address)]
#: a SQLAlchemy address of the ledger
Dsn = Annotated[str, AfterValidator(_dsn)]


def _default_ledger(data: dict[str, Any]) -> str:
    return f"sqlite:///{data['data_dir'] / 'manifest.sqlite'}"


class Settings(BaseSettings):
    """What every role reads. A service inherits it, names its `role` and adds its own fields."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )

    role: ClassVar[str] = "tidewheel"  #: goes into the instance's name, logs and metrics

    tidewheel_home: AbsolutePath = Field(Path("data"), description="Folder that everything below defaults into.")
    data_dir: AbsolutePath = Field(
        default_factory=lambda data: data["tidewheel_home"] / "ml",
        description="Sealed files (`incoming/`), the archive (`blobs/`) and limits. Default: `ml` in TIDEWHEEL_HOME.",
    )
    models_dir: AbsolutePath = Field(
        default_factory=lambda data: data["tidewheel_home"] / "models",
        description="Model bundles and `current`. Default: `models` in TIDEWHEEL_HOME.",
    )
    trained_models_dir: AbsolutePath = Field(
        default_factory=lambda data: data["tidewheel_home"] / "trained_models",
        description="The only folder that models are registered from. Default: `trained_models` in TIDEWHEEL_HOME.",
    )
    model_cache_dir: AbsolutePath = Field(
        default_factory=lambda data: data["tidewheel_home"] / "model_cache",
        description="BounceHunter's fitted models. Default: `model_cache` in TIDEWHEEL_HOME.",
    )
    ledger_db: Dsn = Field(
        default_factory=_default_ledger,
        validation_alias=AliasChoices("LEDGER_DB", "DB_URL"),
        repr=False,
        description="The ledger: a path (SQLite) or postgresql://... Default: `manifest.sqlite` in DATA_DIR.",
    )
    ledger_purpose: Purpose = Field(
        Purpose.PRODUCTION,
        validation_alias="TIDEWHEEL_LEDGER_PURPOSE",
        description="What the ledger is for: production or research. A role of the other purpose refuses to start.",
    )
    redis_url: RedisAddress = Field(
        "redis://127.0.0.1:6379/0", repr=False, description="Redis or Valkey: message broker and candle bus."
    )
    auth_mode: Literal["dev", "keys"] = Field(
        "keys", description="keys: every changing route needs a key with the scope. dev: all is open, on loopback only."
    )
    bind: str = Field("127.0.0.1", description="Address on which users reach the fleet.")
    listen: str = Field(
        default_factory=lambda data: data["bind"],
        validation_alias="TIDEWHEEL_LISTEN",
        description="Address that the process itself listens on, where it differs from BIND (in a container 0.0.0.0).",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe event logged.")
    log_format: Literal["json", "console"] = Field("json", description="json: a line per event. console: for eyes.")
    instance: str = Field(
        default_factory=lambda: "",
        validation_alias="TIDEWHEEL_INSTANCE",
        max_length=120,
        description="Name of this process in leases, heartbeats and logs. Default: role-host-pid.",
    )
    disk_floor_mb: int = Field(
        200,
        validation_alias="TIDEWHEEL_DISK_FLOOR_MB",
        ge=0,
        description="MiB of free disk below which ingestion and training stop; below three times as much, warnings. "
        "0: never.",
    )
    max_body_bytes: int = Field(
        2 * 2**20,
        validation_alias="TIDEWHEEL_MAX_BODY_BYTES",
        ge=1_024,
        description="Largest request body that is read, in bytes. Parsing it keeps a role from answering others.",
    )
    max_in_flight: int = Field(
        32,
        validation_alias="TIDEWHEEL_MAX_IN_FLIGHT",
        ge=1,
        description="Requests that an HTTP role answers at once; more get 429 and Retry-After. Probes do not count.",
    )
    client_seconds: float = Field(
        20.0,
        validation_alias="TIDEWHEEL_CLIENT_SECONDS",
        gt=0,
        le=3_600,
        description="How long a client may take over a request's head, over its body, and to read on in an answer; "
        "then its connection is ended.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_instance(cls, data: Any) -> Any:
        if isinstance(data, dict) and not any(data.get(key) for key in ("TIDEWHEEL_INSTANCE", "instance")):
            return {**data, "TIDEWHEEL_INSTANCE": f"{cls.role}-{socket.gethostname()}-{os.getpid()}"}
        return data

    @model_validator(mode="after")
    def _dev_is_local(self) -> "Settings":
        if self.auth_mode == "dev" and not is_loopback(self.bind):
            raise ValueError(
                f"AUTH_MODE=dev opens every route, so it refuses BIND={self.bind}; "
                "set BIND=127.0.0.1, or AUTH_MODE=keys and create keys with `tidewheel keys create`"
            )
        return self


def variable_names(name: str, field: FieldInfo) -> tuple[str, ...]:
    """The environment variables that set a field; the first is the one to use."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (alias if isinstance(alias, str) else name.upper(),)


def load(kind: type[S], **overrides: Any) -> S:
    """Read the settings of a service; `overrides` (by field name) beat the environment.

    Raises:
        BadSetting: a value cannot be used, or two names of one setting disagree.
    """
    _refuse_disagreement(kind, overrides)
    try:
        settings = kind(**overrides)
    except ValidationError as invalid:
        # A default that could not be made for want of another setting is that setting's problem alone.
        own = [error for error in invalid.errors(include_url=False) if error["type"] != "default_factory_not_called"]
        problems = [_sentence(kind, error, overrides) for error in own]
        raise BadSetting("; ".join(dict.fromkeys(problems))) from None
    _hide_secrets(settings)
    return settings


def _hide_secrets(settings: Settings) -> None:
    """Every log line and answer of this process is masked of them from now on."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            whole = value.get_secret_value()
            hide(whole)
            hide(whole.partition(":")[2])  # the password of user:password
    for address in (settings.ledger_db, settings.redis_url):
        password = urlsplit(address).password or ""
        hide(password)
        hide(unquote(password))


def _surroundings(kind: type[Settings]) -> dict[str, str]:
    """Upper-case names and values of the environment over `.env`, empty ones left out."""
    env_file = kind.model_config.get("env_file")
    sources: tuple[Mapping[str, str | None], ...] = (
        dotenv_values(env_file) if isinstance(env_file, str | Path) else {},
        os.environ,
    )
    return {name.upper(): value for source in sources for name, value in source.items() if value}


def _refuse_disagreement(kind: type[Settings], overrides: Mapping[str, Any]) -> None:
    values = _surroundings(kind)
    for name, field in kind.model_fields.items():
        given = {variable: values[variable] for variable in variable_names(name, field) if variable in values}
        if name not in overrides and len(set(given.values())) > 1:
            shown = " and ".join(f"{variable}={_shown(field, value)}" for variable, value in given.items())
            raise BadSetting(f"{shown} name the same setting and differ; keep one of them")


def _sentence(kind: type[Settings], error: Any, overrides: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    place = str(error["loc"][0])
    for name, field in kind.model_fields.items():
        names = variable_names(name, field)
        if place in (name, *names):
            values = {**_surroundings(kind), **({names[0]: overrides[name]} if name in overrides else {})}
            used = next((variable for variable in names if variable in values), names[0])
            value = f"={_shown(field, values[used])}" if used in values else ""
            return f"{used}{value} cannot be used: {message[:1].lower()}{message[1:]}"
    return f"{place}: {message}"


def _shown(field: FieldInfo, value: object) -> str:
    if field.annotation is not None and "SecretStr" in str(field.annotation):
        return "***"
    return mask_secrets(str(value))


def effective(settings: Settings) -> dict[str, Any]:
    """Variable -> value as it is in force, secrets masked; JSON values only."""
    shown: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = "***"
        elif not isinstance(value, bool | int | float | None):
            value = list(value) if isinstance(value, tuple) else _shown(field, value)
        shown[variable_names(name, field)[0]] = value
    return shown


def settings_table(kinds: Iterable[type[Settings]]) -> str:
    """Markdown table of every variable of `kinds`: name, default, meaning, and the roles that read it."""
    readers: dict[tuple[str, ...], tuple[str, str, list[str]]] = {}
    for kind in kinds:
        for name, field in kind.model_fields.items():
            default = "" if field.is_required() or field.default_factory else _default_text(field)
            row = readers.setdefault(variable_names(name, field), (default, field.description or "", []))
            row[2].append(kind.role)
    everywhere = max((len(roles) for _, _, roles in readers.values()), default=0)
    lines = ["| variable | default | meaning | read by |", "|---|---|---|---|"]
    for variables, (default, meaning, roles) in sorted(readers.items()):
        shown = " or ".join(f"`{variable}`" for variable in variables)
        by = "all" if len(roles) == everywhere > 1 else ", ".join(dict.fromkeys(roles))
        lines.append(f"| {shown} | {default} | {meaning} | {by} |")
    return "\n".join(lines) + "\n"


def _default_text(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == () or value == "":
        return ""
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
