"""An operator trusts a joblib file: it is converted to skops in a confined child, and only that is ever loaded."""

from dataclasses import dataclass

from tidewheel.contracts.errors import BadInput, BadModel, Conflict, Unavailable
from tidewheel.contracts.states import ModelFormat
from tidewheel.disk import write_durably
from tidewheel.features.hourly import BASE
from tidewheel.modelstore.formats import MAX_FILE_BYTES
from tidewheel.modelstore.limited import run_limited
from tidewheel.registry.files import TrainedModels, sha256
from tidewheel.registry.trial import MEMORY_BYTES, Seen, try_out
from tidewheel.registry.unpickling import NO_SANDBOX

TIMEOUT_SECONDS = 120.0
_MODULE = "tidewheel.registry.unpickling"


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a joblib file."""

    path: str  #: of the skops file, relative to TRAINED_MODELS_DIR
    digest: str  #: sha256 of that
    seen: Seen  #: by its trial


def convert(content: bytes, *, timeout: float = TIMEOUT_SECONDS) -> bytes:
    """The estimator of a joblib file as skops, opened in a child without files, sockets, programs or processes.

    Raises:
        BadModel: the child did not come to its end; says how it ended.
        Unavailable: this machine cannot confine it (code `no_sandbox`); nothing was opened.
    """
    ended = run_limited(_MODULE, [str(MEMORY_BYTES), str(MAX_FILE_BYTES)], given=content, timeout=timeout)
    if ended.status == NO_SANDBOX:
        raise Unavailable(f"the conversion {ended.words}", code="no_sandbox")
    if not ended.well:
        raise BadModel(f"the conversion of the joblib file {ended.words}")
    return ended.output


def convert_beside(models: TrainedModels, relative: str, digest: str) -> Converted:
    """Convert the joblib file at `relative`, try the result out, and put it beside it as `<stem>.skops`.

    Raises:
        BadInput, ModelFileNotFound, Conflict: the file is not there any more as it was registered.
        BadInput: it is no joblib file: there is nothing to trust.
        Conflict: there is a `<stem>.skops` already (code `already_there`); it is left alone.
        BadModel, Unavailable: as `convert`, or the trial refused what came of it.
    """
    if not relative.endswith(".joblib"):
        raise BadInput(f"{relative} is no .joblib file: it is served as it is, and nothing needs to be trusted")
    target = f"{relative.removesuffix('.joblib')}.skops"
    path = models.path(target)
    if path.exists():
        raise Conflict(f"{target} is there already, and is not written over; move it away first", code="already_there")
    converted = convert(models.read_registered(relative, digest))
    seen = try_out(ModelFormat.SKOPS, converted, len(BASE))
    try:
        write_durably(path, converted)
    except FileExistsError:
        raise Conflict(f"{target} came into being meanwhile; move it away first", code="already_there") from None
    return Converted(target, sha256(converted), seen)
