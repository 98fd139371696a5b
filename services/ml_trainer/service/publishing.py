"""From a fitted model to a bundle with a name and a verdict: files first, then the ledger in one step."""

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from services.ml_trainer.service.watch import Watch
from tidewheel.contracts.verdicts import Verdict
from tidewheel.gates.gate import Entrant, Gate
from tidewheel.kit.logs import logger
from tidewheel.ledger.records import Run
from tidewheel.modelstore.bundle import BundleMeta
from tidewheel.modelstore.store import ModelStore, Staged

E = TypeVar("E", bound=Entrant)
E_co = TypeVar("E_co", bound=Entrant, covariant=True)
_log = logger(__name__)


class Challenger(Protocol[E_co]):
    """A fitted model on its way to the gate."""

    @property
    def payload(self) -> Mapping[str, bytes]:
        """The model as the files that would be published."""
        ...

    def meta(self) -> BundleMeta:
        """What the bundle says beside them."""
        ...

    def candidate(self, staged: Staged) -> E_co:
        """What the gate may know, once the bundle is staged."""
        ...


class Publishing(Generic[E]):
    """The models directory of one kind of model, and the gate before it."""

    def __init__(self, store: ModelStore, gate: Gate[E]) -> None:
        self.store, self.gate = store, gate

    def publish(
        self, family: str, challenger: Challenger[E], watch: Watch, write_down: Callable[[Staged, Verdict], Run]
    ) -> Run:
        """Judge the staged bundle and give it its name, promoted or refused; no prune takes it until `write_down` ends.

        `write_down` publishes in the ledger, in one transaction.

        Raises:
            RunEnded: the work must stop; nothing was published.
        """
        staged = self.store.stage(family, challenger.payload, challenger.meta())
        try:
            verdict = self.gate.judge(challenger.candidate(staged))
            watch.check()
            with self.store.publishing(staged):
                run = write_down(staged, verdict)
        finally:
            self.store.discard(staged)
        _log.info("run_published", run_id=run.id, version=run.version, state=run.state)
        return run
