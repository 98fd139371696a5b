"""The bases of what is asked and answered over HTTP."""

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """A body whose unknown members are refused and whose numbers are finite, also where they come as text."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Answer(BaseModel):
    """An answer; it may be read from a record of the ledger whose fields have the same names."""

    model_config = ConfigDict(frozen=True, from_attributes=True, protected_namespaces=())
