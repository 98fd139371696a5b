"""Which class reads a family's files."""

from collections.abc import Mapping

from tidewheel.contracts.errors import BadBundle
from tidewheel.models.regime import RegimeModel


def regime_model(family: str, files: Mapping[str, bytes]) -> RegimeModel:
    """The regime model in verified files; `hmm` and its siblings (`hmm-strict`) share one format.

    Raises:
        BadBundle: the family is another one, or the files are structurally wrong.
    """
    if family.partition("-")[0] != RegimeModel.family:
        raise BadBundle(f"family {family!r} has no loader; known are {RegimeModel.family} and {RegimeModel.family}-*")
    return RegimeModel.from_payload(files)
