from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr, ValidationError

from tidewheel.contracts.errors import BadSetting
from tidewheel.kit.settings import CommaSeparated, Moment, Settings, effective, load, settings_table


class Desk(Settings):
    role: ClassVar[str] = "desk"

    symbols: CommaSeparated = Field(("BTC/USDT",), description="What is traded.")
    start_ts: Moment | None = Field(None, description="First bar.")
    exchange_api_secret: SecretStr | None = Field(None, description="For private calls.")
    batch_limit: int = Field(1_000, ge=1, description="Bars a request.")


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LEDGER_DB", "DB_URL", "AUTH_MODE", "BIND", "REDIS_URL", "DATA_DIR", "TIDEWHEEL_HOME", "SYMBOLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_folders_follow_home_and_are_absolute(tmp_path: Path) -> None:
    """Moving TIDEWHEEL_HOME moves data, models and the ledger."""
    settings = load(Desk, tidewheel_home=Path("elsewhere"))
    assert settings.data_dir == tmp_path / "elsewhere" / "ml"
    assert settings.models_dir == tmp_path / "elsewhere" / "models"
    assert settings.ledger_db == f"sqlite:///{tmp_path}/elsewhere/ml/manifest.sqlite"


def test_environment_beats_dotenv_beats_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Values come from the environment, then `.env`, then defaults; empty ones count as unset."""
    (tmp_path / ".env").write_text("SYMBOLS=ETH/USDT, SOL/USDT\nBATCH_LIMIT=7\nREDIS_URL=\n")
    assert load(Desk).symbols == ("ETH/USDT", "SOL/USDT")
    assert load(Desk).redis_url == "redis://127.0.0.1:6379/0"
    monkeypatch.setenv("BATCH_LIMIT", "9")
    assert load(Desk).batch_limit == 9
    assert load(Desk, batch_limit=11).batch_limit == 11


def test_two_names_that_disagree_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """LEDGER_DB and DB_URL may both be set only to the same; the sentence masks passwords."""
    monkeypatch.setenv("LEDGER_DB", "postgresql://tw:hunter2@db/one")
    monkeypatch.setenv("DB_URL", "postgresql://tw:hunter2@db/two")
    with pytest.raises(BadSetting) as refused:
        load(Desk)
    assert "LEDGER_DB=postgresql://tw:***@db/one and DB_URL=postgresql://tw:***@db/two" in refused.value.detail
    monkeypatch.setenv("DB_URL", "postgresql://tw:hunter2@db/one")
    assert load(Desk).ledger_db == "postgresql://tw:hunter2@db/one"


def test_either_name_alone_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DB_URL alone sets the ledger; a bare path means SQLite."""
    monkeypatch.setenv("DB_URL", "ledger.sqlite")
    assert load(Desk).ledger_db == f"sqlite:///{tmp_path}/ledger.sqlite"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BATCH_LIMIT", "many", "BATCH_LIMIT=many cannot be used"),
        ("BATCH_LIMIT", "0", "BATCH_LIMIT=0 cannot be used"),
        (
            "START_TS",
            "999999999999999",
            "START_TS=999999999999999 cannot be used: time '999999999999999' is not of the years",
        ),
        ("START_TS", "yesterday", "START_TS=yesterday cannot be used: time 'yesterday' is neither"),
        ("AUTH_MODE", "none", "AUTH_MODE=none cannot be used"),
        ("LEDGER_DB", "mysql://u:hunter2@h/d", "LEDGER_DB=mysql://u:***@h/d cannot be used: mysql"),
        ("REDIS_URL", "cache:6379", "REDIS_URL=cache:6379 cannot be used: write it as redis://"),
        ("TIDEWHEEL_LEDGER_PURPOSE", "play", "TIDEWHEEL_LEDGER_PURPOSE=play cannot be used"),
    ],
)
def test_bad_value_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    """The refusal names the variable and the value, no other variable, and never a password."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSetting) as refused:
        load(Desk)
    assert said in refused.value.detail
    assert refused.value.detail.count("cannot be used") == 1
    assert "hunter2" not in refused.value.detail


@pytest.mark.parametrize("bind", ["0.0.0.0", "10.0.0.5", "example.org", "::"])
def test_dev_mode_refuses_to_be_reached(monkeypatch: pytest.MonkeyPatch, bind: str) -> None:
    """AUTH_MODE=dev beyond loopback stops the start with the remedy."""
    monkeypatch.setenv("AUTH_MODE", "dev")
    monkeypatch.setenv("BIND", bind)
    with pytest.raises(BadSetting, match=r"AUTH_MODE=dev opens every route.*AUTH_MODE=keys"):
        load(Desk)
    monkeypatch.setenv("BIND", "127.0.0.1")
    assert load(Desk).auth_mode == "dev"


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the listing nor the representation of settings shows a secret."""
    monkeypatch.setenv("EXCHANGE_API_SECRET", "s3cr3t")
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@cache/0")
    settings = load(Desk)
    shown = effective(settings)
    assert shown["EXCHANGE_API_SECRET"] == "***"
    assert shown["REDIS_URL"] == "redis://:***@cache/0"
    assert shown["SYMBOLS"] == ["BTC/USDT"]
    assert "s3cr3t" not in repr(settings) + str(shown) and "hunter2" not in repr(settings) + str(shown)


def test_instance_is_named_after_role_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unnamed process is called role-host-pid; TIDEWHEEL_INSTANCE beats it."""
    assert load(Desk).instance.startswith("desk-")
    monkeypatch.setenv("TIDEWHEEL_INSTANCE", "desk-7")
    assert load(Desk).instance == "desk-7"
    assert load(Desk, instance="desk-8").instance == "desk-8"


def test_settings_do_not_change() -> None:
    """A settings object is frozen."""
    with pytest.raises(ValidationError):
        load(Desk).bind = "x"  # type: ignore[misc]


def test_table_has_every_variable_and_its_readers() -> None:
    """The page names each variable once, with both names of an alias pair."""
    table = settings_table([Settings, Desk])
    assert "| `LEDGER_DB` or `DB_URL` |" in table
    assert "| `BATCH_LIMIT` | `1000` | Bars a request. | desk |" in table
    assert "| `BIND` | `127.0.0.1` | Address on which users reach the fleet. | all |" in table


@pytest.mark.parametrize("variable", ["TIDEWHEEL_HOME", "DATA_DIR", "LEDGER_DB"])
@pytest.mark.parametrize("sign", ["?", "%"])
def test_a_path_that_an_address_would_change_is_refused(
    variable: str, sign: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home called `what?` or `50%41` had its ledger in another file, unsaid."""
    monkeypatch.setenv(variable, str(tmp_path / f"odd{sign}41"))
    with pytest.raises(BadSetting, match=f"{variable}=.*a path with [{sign}] is no place for a ledger"):
        load(Settings)
