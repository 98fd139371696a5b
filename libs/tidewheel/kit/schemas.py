"""The base of request bodies."""

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """A body whose unknown members are refused and whose numbers are finite, also where they come as text."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
