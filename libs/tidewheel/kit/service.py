"""What a service's `app.py` hands to the kit: its parts, ready to run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tidewheel.contracts.messages import Message
from tidewheel.kit.settings import Settings

if TYPE_CHECKING:  # workers and the command line must not pay for FastAPI
    from fastapi import APIRouter

    from tidewheel.kit.auth import KeyLookup

#: A task is a web view: parse, call the service, return.
Handler = Callable[[Any], object]
Tasks = Mapping[type[Message], Handler]


class Loop(Protocol):
    """Something that runs in the background for as long as the process does."""

    def start(self) -> None:
        """Begin; returns at once."""

    def stop(self) -> None:
        """End; returns when nothing of it runs any more."""


@dataclass(kw_only=True)
class Service:
    """One role's parts."""

    name: str  #: the role
    settings: Settings  #: of this role
    routers: list["APIRouter"] = field(default_factory=list)  #: its HTTP routes
    tasks: Tasks = field(default_factory=dict)  #: message -> what handles it
    pings: list[Callable[[], None]] = field(default_factory=list)  #: raise while a part is away; asked by /ready
    spare: list[Callable[[], None]] = field(
        default_factory=list
    )  #: the same of parts without which the role still works
    loops: list[Loop] = field(default_factory=list)  #: started in order, stopped in reverse
    keys: "KeyLookup | None" = None  #: where API keys are found; needed by routes with a scope when AUTH_MODE=keys
    on_shutdown: list[Callable[[], None]] = field(default_factory=list)  #: called as soon as a stop is asked for
    close: list[Callable[[], None]] = field(default_factory=list)  #: called last, in reverse
