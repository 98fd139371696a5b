"""One tree of errors; a class per decision that a caller can take.

```
TidewheelError
├── BadInput            the caller sent something that cannot be meant: mend the value
│   ├── BadSetting      ... in the environment: the start stops
│   ├── BadCandles      ... as market data: nothing is stored
│   ├── BadBundle       ... as a model of ours: nothing is loaded
│   ├── BadModel        ... as a user's model: nothing is registered or loaded
│   └── HorizonNotSupported  ... as a horizon of that model (also a ValueError)
├── NotFound            the named thing does not exist
│   ├── ModelNotFound   ... among the registered models that are active (also a ValueError)
│   └── ModelFileNotFound  ... where a registered model's file should be (also a FileNotFoundError)
├── Conflict            the state of the ledger forbids it now
│   ├── LeaseTaken      somebody else holds the right: wait, or ask the holder
│   └── FenceLost       the right was taken over: stop, nothing was written
├── NotEnoughData       more bars are needed: says how many
│   └── NoHistoricalData  no hour of the stream is complete (also a ValueError)
├── BadFit              the bars are many enough, but no usable model came of them: nothing is published
├── PosteriorUnusable   what was learnt of a preset gives no belief: the default preset is served, and says so
├── NotAuthenticated    no key, or an unknown one
├── NotAuthorised       the key lacks the scope
├── ModelNotTrusted     the file may run code when it is loaded: a person has to convert it first
├── Overloaded          come back after `retry_after` seconds
└── Unavailable         a part that this answer needs is away
    └── SchemaMismatch  the ledger is of another revision or purpose: migrate, or point elsewhere
```

Those of the model registry that are also Python's own say what the document of the registry says, word for word.
"""

from collections.abc import Iterable
from typing import Any


class TidewheelError(Exception):
    """A sentence with the value and the remedy, and a stable code.

    `extra` holds further members of the problem document (RFC 9457), JSON values only.
    """

    code = "error"
    status = 500
    title = "Something went wrong"

    def __init__(self, detail: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.extra = extra


class BadInput(TidewheelError):
    """The caller sent a value that cannot be meant."""

    code, status, title = "bad_input", 422, "The input cannot be used"


class BadSetting(BadInput):
    """A setting cannot be used; the role does not start."""

    code, title = "bad_setting", "A setting cannot be used"


class BadCandles(BadInput):
    """Market data broke a rule; nothing of it was stored."""

    code, title = "bad_candles", "The candles cannot be used"


class BadBundle(BadInput):
    """A model bundle is damaged, foreign or structurally wrong; nothing of it was loaded."""

    code, title = "bad_bundle", "The model bundle cannot be used"


class BadModel(BadInput):
    """A file is no model of its format, or none that predicts; nothing of it was registered."""

    code, title = "bad_model", "The model cannot be used"


class HorizonNotSupported(BadInput, ValueError):
    """The model was not registered for this horizon."""

    code, status, title = "horizon_not_supported", 400, "The model does not support the horizon"

    def __init__(self, horizon: int, name: str, supported: Iterable[int]) -> None:
        known = list(supported)
        super().__init__(
            f"Horizon {horizon}h not supported by model '{name}'. Supported horizons: {known}", supported_horizons=known
        )


class NotFound(TidewheelError):
    """The named thing does not exist."""

    code, status, title = "not_found", 404, "Not found"


class ModelNotFound(NotFound, ValueError):
    """No registered model has this name, or the version that is meant is inactive."""

    code, status, title = "model_not_found", 400, "The model is not registered or not active"

    def __init__(self, name: str) -> None:
        super().__init__(f"Model '{name}' not found or inactive")


class ModelFileNotFound(NotFound, FileNotFoundError):
    """The file of a model is not there; `path` is written as it was asked for."""

    code, title = "model_file_not_found", "The model's file is missing"

    def __init__(self, path: str) -> None:
        super().__init__(f"Model file not found: {path}")


class Conflict(TidewheelError):
    """The ledger's state forbids it now."""

    code, status, title = "conflict", 409, "Not possible in the present state"


class LeaseTaken(Conflict):
    """Somebody else holds the lease."""

    code, title = "lease_taken", "Another process holds the lease"


class FenceLost(Conflict):
    """The lease was taken over, or ran out; nothing was written."""

    code, title = "fence_lost", "The lease was lost"


class NotEnoughData(TidewheelError):
    """There are fewer bars than the work needs."""

    code, status, title = "not_enough_data", 422, "Not enough data"


class NoHistoricalData(NotEnoughData, ValueError):
    """Nothing can be predicted from: not one hour of `stream` is complete."""

    code, status, title = "no_historical_data", 400, "No historical data"

    def __init__(self, stream: str) -> None:
        super().__init__("No historical data available for prediction", stream=stream)


class BadFit(TidewheelError):
    """No usable model came of the bars; `code` is `constant_market`, `degenerate_states` or `not_converged`."""

    code, status, title = "bad_fit", 422, "The model could not be fitted"


class PosteriorUnusable(TidewheelError):
    """The sums of a preset are damaged, or their matrix cannot be factored; the default preset is served instead."""

    code, title = "posterior_unusable", "What was learnt cannot be used"


class NotAuthenticated(TidewheelError):
    """No key was sent, or it is unknown or revoked."""

    code, status, title = "not_authenticated", 401, "A key is needed"


class NotAuthorised(TidewheelError):
    """The key does not carry the scope that the route needs."""

    code, status, title = "not_authorised", 403, "The key lacks a scope"


class ModelNotTrusted(TidewheelError):
    """A model's file may run code when it is loaded, and nobody has had it converted yet."""

    code, status, title = "model_not_trusted", 403, "The model is not trusted"


class Overloaded(TidewheelError):
    """Too many requests are in flight; `retry_after` seconds are named in `extra`."""

    code, status, title = "overloaded", 429, "Too many requests"


class Unavailable(TidewheelError):
    """A part that this answer needs is away."""

    code, status, title = "unavailable", 503, "Not available now"


class SchemaMismatch(Unavailable):
    """The ledger is of another revision or purpose."""

    code, title = "schema_mismatch", "The ledger does not fit this program"
