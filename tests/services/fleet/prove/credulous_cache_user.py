"""A user whose cache believes every byte: the planted bug of `cache`."""

from pathlib import Path

from services.fleet.prove.programs.cache_user import main
from tidewheel.bounce.entries import ModelCache
from tidewheel.contracts.errors import BadBundle
from tidewheel.modelstore import bundle
from tidewheel.modelstore.bundle import Manifest, OpenBundle
from tidewheel.modelstore.store import ModelStore


class Credulous(ModelStore):
    """Files are taken as they lie there."""

    def open(self, family: str, version: str | None = None) -> OpenBundle:
        path = self.path(family, version or self.current(family) or "")
        try:
            manifest = Manifest.model_validate_json((path / bundle.MANIFEST).read_bytes())
        except ValueError as error:
            raise BadBundle("not even JSON") from error
        files = {name: (path / name).read_bytes() for name in manifest.files if name != bundle.METADATA}
        return OpenBundle(manifest, files, {})


def cache(folder: Path) -> ModelCache:
    """One that reads so."""
    found = ModelCache(folder, on_damage=lambda *_: None)
    found._store = Credulous(folder)
    return found


if __name__ == "__main__":
    main(cache)
