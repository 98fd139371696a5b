"""The documented Python API: what programs outside this project import."""

from tidewheel.public.engine import Decision, EngineClient, EngineError, Regime, Settled

__all__ = ["Decision", "EngineClient", "EngineError", "Regime", "Settled"]
