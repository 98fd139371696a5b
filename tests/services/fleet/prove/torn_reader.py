"""A reader whose store resolves `current` a second time for the weights: the planted bug of `swaps`."""

from dataclasses import replace

from services.fleet.prove.programs.reader import main
from tidewheel.modelstore.bundle import OpenBundle
from tidewheel.modelstore.store import ModelStore


class Torn(ModelStore):
    """Manifest and files come from two looks at `current`."""

    def open(self, family: str, version: str | None = None) -> OpenBundle:
        return replace(super().open(family, version), files=super().open(family, version).files)


if __name__ == "__main__":
    main(Torn)
