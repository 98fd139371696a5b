"""The menu of a pair: which presets may be served."""

from collections.abc import Mapping

from services.param_controller.service.schema_files import Schemas
from tidewheel.contracts.errors import BadInput, NotFound
from tidewheel.contracts.keys import PairKey
from tidewheel.kit.logs import logger
from tidewheel.ledger.control.records import Preset
from tidewheel.ledger.open import Ledger

_log = logger(__name__)


class Menu:
    """Registers, lists and retires presets; none is ever changed or deleted."""

    def __init__(self, ledger: Ledger, schemas: Schemas) -> None:
        self._ledger, self._schemas = ledger, schemas

    def register(
        self, key: PairKey, preset_id: str, params: Mapping[str, object] | None, actor: str
    ) -> tuple[Preset, bool]:
        """The preset, and whether it is new. Without params it is the schema's safe preset of that name.

        Raises:
            NotFound: `unknown_strategy`.
            BadInput: `out_of_bounds`, `wrong_parameters`, or there is no such safe preset.
            Conflict: `preset_differs`, `preset_retired`.
        """
        schema = self._schemas.get(key.strategy)
        if params is None:
            safe = {preset.id: preset.params for preset in schema.presets}
            if preset_id not in safe:
                raise BadInput(
                    f"{schema.strategy} has no safe preset {preset_id!r}; send params, or name {' or '.join(safe)}",
                    code="wrong_parameters",
                )
            params = safe[preset_id]
        return self._ledger.presets.register(key, preset_id, schema.check_params(params), actor)

    def of(self, key: PairKey) -> list[Preset]:
        """In the order of registration, retired ones included.

        Raises:
            NotFound: `unknown_pair`.
        """
        return self._ledger.presets.of(key)

    def retire(self, key: PairKey, preset_id: str, actor: str, reason: str) -> Preset:
        """Serve it no more; what was learnt of it stays.

        Raises:
            NotFound: the pair or the preset is unknown.
        """
        return self._ledger.presets.retire(key, preset_id, actor, reason)

    def forbidden(self, preset: Preset) -> str | None:
        """Why a preset cannot be served under the schema in force, whether retired or not; None where it can."""
        try:
            return self._schemas.get(preset.key.strategy).forbids(preset.params)
        except NotFound as gone:
            return gone.detail

    def warn(self) -> None:
        """Log every live preset that is not served because the schema files have changed since its registration."""
        for pair in self._ledger.presets.pairs():
            for preset in self.of(pair.key):
                why = self.forbidden(preset)
                if why is not None and preset.retired_at is None:
                    _log.error("preset_forbidden", pair=str(pair.key), preset_id=preset.preset_id, detail=why)
