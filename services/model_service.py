"""The import path that the registry's document names."""

from collections.abc import Sequence
from pathlib import Path

from tidewheel.kit.settings import Settings, load
from tidewheel.models.conformal import LEVEL
from tidewheel.public import models
from tidewheel.registry.files import DOCUMENTED_ROOT
from tidewheel.registry.service import CACHE_BYTES

__all__ = ["ModelService"]


class ModelService(models.ModelService):
    """`tidewheel.public.models.ModelService`, where /app/trained_models names TRAINED_MODELS_DIR as it does in a path.

    In the containers the two are one folder; on a machine without that folder the setting tells the place.
    """

    def __init__(
        self,
        models_directory: str | Path,
        *,
        symbols: Sequence[str] = (),
        level: float = LEVEL,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        folder = Path(models_directory)
        if folder == Path(DOCUMENTED_ROOT) and not folder.exists():
            folder = load(Settings).trained_models_dir
        super().__init__(folder, symbols=symbols, level=level, cache_bytes=cache_bytes)
