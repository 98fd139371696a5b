"""The import path that the registry's document names."""

from tidewheel.public.models import ModelService

__all__ = ["ModelService"]
