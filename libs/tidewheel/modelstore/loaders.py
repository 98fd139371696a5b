"""Which class reads a family's files."""

from collections.abc import Mapping

from tidewheel.contracts.errors import BadBundle
from tidewheel.models.horizons import FAMILIES, HorizonModel
from tidewheel.models.regime import RegimeModel

_KNOWN = ", ".join(f"{family} and {family}-*" for family in (RegimeModel.family, *FAMILIES))


def regime_model(family: str, files: Mapping[str, bytes]) -> RegimeModel:
    """The regime model in verified files; `hmm` and its siblings (`hmm-strict`) share one format.

    Raises:
        BadBundle: the family is another one, or the files are structurally wrong.
    """
    if family.partition("-")[0] != RegimeModel.family:
        raise BadBundle(f"family {family!r} has no loader; known are {_KNOWN}")
    return RegimeModel.from_payload(files)


def forecasts_hours(family: str) -> bool:
    """Whether `horizon_model` reads the files of `family`."""
    return family.partition("-")[0] in FAMILIES


def horizon_model(family: str, files: Mapping[str, bytes]) -> HorizonModel:
    """The model of the registry in verified files: `baseline`, `random_forest` and their siblings.

    Raises:
        BadBundle: the family is another one, or the files are structurally wrong or of another family.
    """
    if not forecasts_hours(family):
        raise BadBundle(f"family {family!r} does not forecast over hours; those that do are {', '.join(FAMILIES)}")
    model = HorizonModel.from_payload(files)
    if model.family != family.partition("-")[0]:
        raise BadBundle(f"the files hold a {model.family} model, not one of {family}")
    return model
