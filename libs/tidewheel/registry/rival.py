"""A loaded version as a comparison asks it: forecasts at every hour of a history, whatever its format and units."""

from dataclasses import dataclass

import numpy as np

from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.hourly import table
from tidewheel.registry.forecasting import prices_of
from tidewheel.registry.loaded import Own
from tidewheel.registry.service import LoadedModel


@dataclass(frozen=True, eq=False, slots=True)
class Rival:
    """As `tidewheel.gates.forecasts.Forecasts`."""

    loaded: LoadedModel

    @property
    def horizons(self) -> tuple[int, ...]:
        """Hours that it can look ahead."""
        return self.loaded.row.prediction_horizons

    @property
    def learnt_until(self) -> UtcMillis | None:
        """When the last bar that it was fitted on had closed; None for a user's file, which does not tell."""
        forecasts = self.loaded.forecasts
        return forecasts.model.end if isinstance(forecasts, Own) else None

    def forecast(self, horizon: int, hours: CandleFrame) -> Floats:
        """Forecast close `horizon` hours after each bar, shape [n]; NaN at a bar where a feature is missing.

        Raises:
            BadModel: it answers what no price can be.
        """
        config = self.loaded.config
        rows = table(hours, config.features[horizon], horizon=horizon, relative=config.relative)
        known = ~np.isnan(rows).any(axis=1)
        found = np.full(len(hours), np.nan)
        if known.any():
            answers = self.loaded.forecasts.answers(horizon, rows[known])
            found[known] = prices_of(answers, hours.close[known], relative=config.relative)
        return found
