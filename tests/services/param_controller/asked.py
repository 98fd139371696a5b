"""A small strategy to ask about."""

import yaml

from tidewheel.contracts.strategies import StrategySchema

SCHEMA = """\
strategy: breakout
description: Buys a break of the highest close.
parameters:
  lookback: {type: int, unit: bars, min: 10, max: 240, description: Bars looked back on.}
  stop: {type: float, unit: ATR, min: 0.5, max: 5, description: Distance of the stop.}
presets:
  - {id: slow, description: Patient., params: {lookback: 120, stop: 3.0}}
  - {id: fast, description: Quick., params: {lookback: 20, stop: 1.5}}
default_preset: slow
context:
  - {name: vol, description: Volatility., unit: ratio, center: 0.2, scale: 0.1, clip: [-2, 2], missing: refuse}
  - {name: trend, description: Bull less bear., unit: "", missing: default, default: 0, fill: regime.trend}
reward: {unit: bps, clip: [-50, 50], absurd: 1000, settle_within: 3600, default: -1}
guardrails: {changes_per_day: 1000}
policy: {name: lints, exploration: 1.0, ridge: 1.0, seed: 7}
"""
BREAKOUT = StrategySchema.model_validate(yaml.safe_load(SCHEMA))
