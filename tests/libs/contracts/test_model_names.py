"""Names of registered models, of their versions, and of what points to one."""

import pytest

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.keys import is_version, model_alias, model_name, model_version, version_name

VERSION = "v2026-01-31-0a1b2c3d"


def test_names_that_the_document_uses() -> None:
    """Lower-case words with underscores, version numbers included; the longest has 64 characters."""
    for name in ("baseline", "random_forest_v1", "lstm_24h_v2", "my-model", "1", "a" * 64, "bottom_2", "bounces"):
        assert model_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "Random_Forest", "a" * 65, "_a", "-a", "a b", "a/b", "..", "a.b", "é", "a\n"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(BadInput, match="write it like random_forest_v1"):
        model_name(name)


@pytest.mark.parametrize(
    "name", ["hmm", "hmm-strict", "hmm2", "lstm", "patchtst", "ppo_lstm", "sac_patchtst", "bottom", "bounce"]
)
def test_names_of_other_families(name: str) -> None:
    """They have versions of their own, which a registered model must not be taken for."""
    with pytest.raises(BadInput, match=f"kept for models of another kind.*such as my_{name}"):
        model_name(name)


def test_versions() -> None:
    """Date and digest; nothing else is one."""
    assert version_name(1_769_817_600_000, "0a1b2c3d4e5f") == model_version(VERSION) == VERSION
    for other in ("", "champion", "v1", VERSION[1:], VERSION + "0", VERSION.upper(), VERSION.replace("0a", "0g")):
        assert not is_version(other)
        with pytest.raises(BadInput, match="not of the form"):
            model_version(other)


def test_aliases() -> None:
    """A word; never what could be a version."""
    for alias in ("champion", "staging", "v2", "a" * 40, "shadow-1", "v2026-01-31"):
        assert model_alias(alias) == alias
    for other in ("", "a" * 41, "1a", "Champion", "_a", "a b", "a/b", "a\n", VERSION):
        with pytest.raises(BadInput, match="write it like champion"):
            model_alias(other)
