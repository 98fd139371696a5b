"""One tree of errors; a class per decision that a caller can take.

```
TidewheelError
├── BadInput            the caller sent something that cannot be meant: mend the value
│   ├── BadSetting      ... in the environment: the start stops
│   ├── BadCandles      ... as market data: nothing is stored
│   └── BadBundle       ... as a model: nothing is loaded
├── NotFound            the named thing does not exist
├── Conflict            the state of the ledger forbids it now
│   ├── LeaseTaken      somebody else holds the right: wait, or ask the holder
│   └── FenceLost       the right was taken over: stop, nothing was written
├── NotEnoughData       more bars are needed: says how many
├── BadFit              the bars are many enough, but no usable model came of them: nothing is published
├── PosteriorUnusable   what was learnt of a preset gives no belief: the default preset is served, and says so
├── NotAuthenticated    no key, or an unknown one
├── NotAuthorised       the key lacks the scope
├── Overloaded          come back after `retry_after` seconds
└── Unavailable         a part that this answer needs is away
    └── SchemaMismatch  the ledger is of another revision or purpose: migrate, or point elsewhere
```
"""

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


class NotFound(TidewheelError):
    """The named thing does not exist."""

    code, status, title = "not_found", 404, "Not found"


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


class Overloaded(TidewheelError):
    """Too many requests are in flight; `retry_after` seconds are named in `extra`."""

    code, status, title = "overloaded", 429, "Too many requests"


class Unavailable(TidewheelError):
    """A part that this answer needs is away."""

    code, status, title = "unavailable", 503, "Not available now"


class SchemaMismatch(Unavailable):
    """The ledger is of another revision or purpose."""

    code, title = "schema_mismatch", "The ledger does not fit this program"
