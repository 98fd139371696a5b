"""The gate's steps that read files: the staged bundle is intact and is what was judged; a child can serve it."""

from tidewheel.contracts.errors import BadBundle, NotFound
from tidewheel.contracts.verdicts import StepResult
from tidewheel.gates.gate import Entrant
from tidewheel.modelstore.bundle import read_bundle
from tidewheel.modelstore.canary import NAME as CANARY
from tidewheel.modelstore.canary import canary
from tidewheel.modelstore.limited import TIMEOUT_SECONDS


class Digest:
    """Every byte of the staged bundle has its digest, and they are the bytes that the other steps judge."""

    name = "digest"
    min_blocks = 0

    def __call__(self, candidate: Entrant) -> StepResult:
        """Refuse a damaged, foreign or exchanged bundle."""
        if candidate.bundle_dir is None:
            return self._refused("the candidate was not staged, so nothing can be verified")
        try:
            bundle = read_bundle(candidate.bundle_dir)
        except (BadBundle, NotFound) as damaged:
            return self._refused(damaged.detail)
        if dict(bundle.files) != dict(candidate.payload) or bundle.manifest.family != candidate.family:
            return self._refused("the staged files are not the candidate's")
        manifest = bundle.manifest
        if manifest.feature_signature != candidate.feature_signature:
            return self._refused(f"the manifest has feature signature {manifest.feature_signature}, the candidate not")
        numbers = {
            "digest": manifest.digest,
            "files": len(manifest.files),
            "bytes": sum(entry.size for entry in manifest.files.values()),
        }
        return StepResult(step=self.name, passed=True, reason="every file has its digest", numbers=numbers)

    def _refused(self, reason: str) -> StepResult:
        return StepResult(step=self.name, passed=False, reason=reason)


class Canary:
    """A child process with limits loads the staged bundle and answers with it."""

    name = CANARY
    min_blocks = 0

    def __init__(self, timeout: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout  #: seconds

    def __call__(self, candidate: Entrant) -> StepResult:
        """Refuse a bundle that its loader, its filter or its limits reject."""
        if candidate.bundle_dir is None:
            return StepResult(step=self.name, passed=False, reason="the candidate was not staged, so nothing can load")
        return canary(candidate.bundle_dir, timeout=self._timeout)
