"""Forecasts over hours: the same suite for the line and the forest."""

import json
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests.libs.models.worlds import candles
from tidewheel.contracts.errors import BadBundle, BadInput, NotEnoughData, TidewheelError
from tidewheel.contracts.times import HOUR
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.hourly import documented, latest, target, volatility
from tidewheel.models.horizons import FAMILIES, MIN_CALIBRATE, MIN_FIT, HorizonModel


def reverting(bars: int, seed: int = 1, pull: float = 0.9) -> CandleFrame:
    """Hours whose price comes back by nine tenths of the way each hour: much of the next close can be known."""
    rng = np.random.default_rng(seed)
    level = np.zeros(bars)
    for bar in range(1, bars):
        level[bar] = (1 - pull) * level[bar - 1] + 0.01 * rng.standard_normal()
    return candles(np.diff(level), start=500_000 * HOUR, step=HOUR)


@pytest.fixture(scope="module")
def models() -> Mapping[str, HorizonModel]:
    return {family: HorizonModel.fit(reverting(1_000), family=family, seed=42, trees=30) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_gives_the_same_bytes(models: Mapping[str, HorizonModel], family: str) -> None:
    """The same bars and seed give the same files; read back they are the same model, which answers to the bit."""
    model = models[family]
    again = HorizonModel.fit(reverting(1_000), family=family, seed=42, trees=30)
    assert model.horizons == (1, 3, 24, 168) and not model.left_out
    assert again.to_payload() == model.to_payload()

    loaded = HorizonModel.from_payload(model.to_payload())

    assert loaded.to_payload() == model.to_payload() and loaded.signature == model.signature
    for horizon in model.horizons:
        ours, theirs = model.forecast(horizon, reverting(400, 2)), loaded.forecast(horizon, reverting(400, 2))
        assert ours.tobytes() == theirs.tobytes()
        assert loaded.band(horizon) == model.band(horizon) and loaded.reference(horizon) == model.reference(horizon)
    assert set(model.to_payload()) == {"model.json", "h1.npz", "h3.npz", "h24.npz", "h168.npz"}
    assert sum(map(len, model.to_payload().values())) < 5_000_000


@pytest.mark.parametrize("family", FAMILIES)
def test_learnable_world_is_learnt(models: Mapping[str, HorizonModel], family: str) -> None:
    """On unseen hours of a market that comes back, each horizon errs clearly less than the price as forecast."""
    later = reverting(3_000, 7)
    for horizon in (1, 3, 24):
        found, came = models[family].forecast(horizon, later), target(later, horizon, relative=False)
        known = ~(np.isnan(found) | np.isnan(came))
        mae = np.abs(found - came)[known].mean()
        naive = np.abs(later.close - came)[known].mean()
        assert mae < 0.9 * naive, (horizon, mae / naive)
        inside = (np.abs(found - came) <= models[family].reach(horizon, later))[known]
        assert 0.84 < inside.mean() < 0.95, (horizon, inside.mean())


def gusts(seed: int, bars: int = 3_000) -> CandleFrame:
    """Hours whose volatility comes in clusters (GARCH)."""
    noise, variance, moves = np.random.default_rng(seed).standard_normal(bars), 1e-5, np.zeros(bars)
    for bar in range(bars):
        moves[bar] = np.sqrt(variance) * noise[bar]
        variance = 2e-7 + 0.08 * moves[bar] ** 2 + 0.9 * variance
    return candles(moves, start=500_000 * HOUR, step=HOUR)


def test_intervals_are_as_wide_as_the_hour_is_wild() -> None:
    """In calm and in wild hours alike nearly nine of ten are held; a week ahead the width stays what it was."""
    model = HorizonModel.fit(gusts(1), family="baseline", horizons=(1, 168), seed=1)
    later = gusts(2)
    wild = volatility(later) > np.nanmedian(volatility(later))
    off = np.abs(model.forecast(1, later) - target(later, 1, relative=False))
    held = off <= model.reach(1, later)
    for hours in (wild, ~wild):
        assert 0.86 < held[hours & ~np.isnan(off)].mean() < 0.95
    week = model.reach(168, later) / later.close
    assert week == pytest.approx(np.full(len(later), model.band(168).half_width), rel=1e-12)


def test_where_nothing_moves_no_width_follows_it() -> None:
    """A market that stood still in calibration gets a constant width; one that stands still now gets none."""
    hours, still = reverting(700), np.array(reverting(700).rows())
    still[:, 1:5] = np.where(np.arange(700)[:, None] < 500, still[:, 1:5], 100.0)
    frozen = CandleFrame.from_rows(HOUR, still)

    assert not HorizonModel.fit(frozen, family="baseline", horizons=(1,), seed=1).parts[1].scaled
    model = HorizonModel.fit(hours, family="baseline", horizons=(1,), seed=1)
    assert model.parts[1].scaled
    assert np.isnan(model.reach(1, frozen)[-1]) and np.isnan(model.reach(1, hours)[11])
    assert not np.isnan(model.reach(1, hours)[12:]).any()


@pytest.mark.parametrize("horizon", [1, 24])
def test_no_hour_is_behind_both_slices(horizon: int) -> None:
    """From the first calibrating bar on, the market may be any other: the regressor is the same to the bit.

    The hour before it is the last label of the fit: that one does matter.
    """
    hours = reverting(600)
    honest = HorizonModel.fit(hours, family="baseline", horizons=[horizon], seed=1)
    rows = len(hours) - horizon - (48 if horizon == 24 else 24)
    first = len(hours) - horizon - rows // 4  # the last quarter of the usable rows calibrates
    weights = honest.to_payload()[f"h{horizon}.npz"]

    def otherwise(start: int) -> HorizonModel:
        bars = np.array(hours.rows())
        bars[start:, 1:5] *= np.random.default_rng(0).uniform(0.5, 2.0, size=(len(bars) - start, 1))
        return HorizonModel.fit(CandleFrame.from_rows(HOUR, bars), family="baseline", horizons=[horizon], seed=1)

    assert honest.parts[horizon].calibrate_rows == rows // 4
    assert honest.parts[horizon].fit_rows == rows - rows // 4 - horizon
    assert otherwise(first).to_payload()[f"h{horizon}.npz"] == weights
    assert otherwise(first).band(horizon) != honest.band(horizon)
    assert otherwise(first).reference(horizon) == honest.reference(horizon)
    assert otherwise(first - 1).to_payload()[f"h{horizon}.npz"] != weights


def test_horizons_without_rows_are_left_out_by_name() -> None:
    """A short history fits the short horizons; the long ones are named with their counts, and come with more bars."""
    least = 168 + MIN_FIT + 168 + MIN_CALIBRATE + 168
    short = HorizonModel.fit(reverting(least - 1), family="baseline", seed=1)
    enough = HorizonModel.fit(reverting(least), family="baseline", seed=1)

    assert short.horizons == (1, 3, 24)
    assert short.left_out == {
        168: "417 bars have all features and an outcome, of which 199 may fit and 50 calibrate; 200 and 50 are needed"
    }
    assert HorizonModel.from_payload(short.to_payload()).left_out == short.left_out
    assert enough.horizons == (1, 3, 24, 168) and enough.parts[168].fit_rows == 200
    with pytest.raises(BadInput, match=r"horizon 168 h is not one of this model's \[1, 3, 24\]"):
        short.band(168)
    with pytest.raises(NotEnoughData, match=r"100 complete hours are too few for any horizon: 1 h: 75 bars .*; 3 h: "):
        HorizonModel.fit(reverting(100), family="baseline", seed=1)
    with pytest.raises(NotEnoughData, match="0 complete hours"):
        HorizonModel.fit(CandleFrame.empty(HOUR), family="random_forest", seed=1)


def test_a_feature_that_the_market_never_has_is_not_the_models() -> None:
    """With weekends closed no mean over a week is ever known: the week's horizon reads the other features."""
    hours = reverting(24 * 7 * 14)
    week = hours.take((hours.open_time // HOUR // 24) % 7 < 5)

    model = HorizonModel.fit(week, family="baseline", seed=1)

    assert model.features(168) == tuple(name for name in documented(168) if name != "SMA_168h")
    assert model.features(24) == documented(24)
    loaded = HorizonModel.from_payload(model.to_payload())
    assert loaded.features(168) == model.features(168) and loaded.signature == model.signature
    assert np.isfinite(loaded.forecast(168, week)).sum() > 300


def test_served_rows_give_what_the_whole_history_gives(models: Mapping[str, HorizonModel]) -> None:
    """The forecast from the latest row equals that of the last bar of a table, to the bit, and gaps give none."""
    hours = reverting(500, 3)
    for model in models.values():
        for horizon in model.horizons:
            whole = model.forecast(horizon, hours)
            row = latest(hours, model.features(horizon), horizon=horizon, relative=True)
            assert whole[-1] == hours.close[-1] * (1.0 + model.predict(horizon, row[None])[0])
            holed = hours.take(np.arange(len(hours)) != len(hours) - 25)  # 24 hours before the last
            assert np.isnan(model.forecast(horizon, holed)[-1])


def test_progress_tells_each_horizon() -> None:
    """A run can show how far it is."""
    told: list[int] = []
    HorizonModel.fit(reverting(400), family="baseline", horizons=(24, 1, 3), seed=1, progress=told.append)
    assert told == [1, 3, 24]


def test_what_cannot_be_meant_is_refused(models: Mapping[str, HorizonModel]) -> None:
    """Families, horizons and rows that do not fit each get a sentence."""
    model = models["baseline"]
    refused: Mapping[str, Callable[[], object]] = {
        "family 'lstm' is not trained here": lambda: HorizonModel.fit(reverting(400), family="lstm", seed=1),
        r"horizons \[0\] are not possible": lambda: HorizonModel.fit(
            reverting(400), family="baseline", horizons=[0], seed=1
        ),
        r"horizons \[\] are not possible": lambda: HorizonModel.fit(
            reverting(400), family="baseline", horizons=[], seed=1
        ),
        r"rows of shape \[1, 4\] do not fit the 5 features of 1 h": lambda: model.predict(1, np.zeros((1, 4))),
        r"rows of shape \[5\] do not fit": lambda: model.predict(1, np.zeros(5)),
        "a feature of 1 h is missing": lambda: model.predict(1, np.full((1, 5), np.nan)),
        "horizon 2 h is not one of": lambda: model.predict(2, np.zeros((1, 5))),
    }
    for why, asked in refused.items():
        with pytest.raises(BadInput, match=why):
            asked()


POISON = {
    "family": ("family", "lstm", "this program reads baseline, random_forest"),
    "no horizon": ("horizons", {}, "not those of horizons"),
    "a horizon of no hours": ("horizons.0", {}, "no horizon in hours"),
    "a horizon without its file": ("horizons.2", {}, "not those of horizons"),
    "an unknown feature": ("horizons.1.features", ["rsi_14"], "not names of the catalogue"),
    "a feature twice": ("horizons.1.features", ["lag_1h", "lag_1h"], "not names of the catalogue"),
    "no feature": ("horizons.1.features", [], "not names of the catalogue"),
    "features as text": ("horizons.1.features", "lag_1h", "is not a list"),
    "fewer features": ("horizons.1.features", ["lag_1h"], "has unknown"),
    "half width": ("horizons.1.half_width", -1.0, "half width -1"),
    "scale": ("horizons.1.scale", "moon", "in units of 'moon'"),
    "level": ("horizons.1.level", 1.0, "has level 1"),
    "rows": ("horizons.1.fit_rows", -5, "not a whole number"),
    "edges that fall": ("horizons.1.reference.lag_1h", {"edges": [2, 1], "counts": [1, 1, 1]}, "no histogram"),
    "counts of nothing": ("horizons.1.reference.lag_1h", {"edges": [], "counts": [0]}, "no histogram"),
    "a bin too few": ("horizons.1.reference.lag_1h", {"edges": [1.0], "counts": [5]}, "no histogram"),
    "counts in part": ("horizons.1.reference.lag_1h", {"edges": [], "counts": [0.5]}, "not a whole number"),
    "unknown member": ("extra", 1, "has unknown"),
}


@pytest.mark.parametrize("name", POISON)
def test_unsound_files_are_refused(models: Mapping[str, HorizonModel], name: str) -> None:
    """Each member that no fit could have written is refused with a sentence that names it."""
    path, value, why = POISON[name]
    payload = models["baseline"].to_payload()
    members = json.loads(payload["model.json"])
    inner, keys = members, path.split(".")
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value

    with pytest.raises(BadBundle, match=why):
        HorizonModel.from_payload(payload | {"model.json": json.dumps(members).encode()})


def test_files_are_those_of_the_horizons(models: Mapping[str, HorizonModel]) -> None:
    """A file too many or too few, one horizon's weights for another's, one family's for the other's."""
    line, forest = models["baseline"].to_payload(), models["random_forest"].to_payload()
    for files in (
        {name: content for name, content in line.items() if name != "h3.npz"},
        {name: content for name, content in line.items() if name != "model.json"},
        line | {"h5.npz": line["h3.npz"]},
        line | {"h24.npz": line["h1.npz"]},
        line | {"h1.npz": forest["h1.npz"]},
        forest | {"h24.npz": forest["h168.npz"]},  # asks a column that 24 h does not have
    ):
        with pytest.raises(BadBundle):
            HorizonModel.from_payload(files)


@pytest.mark.parametrize("family", FAMILIES)
def test_mutated_files_are_refused_or_answer_with_numbers(models: Mapping[str, HorizonModel], family: str) -> None:
    """500 files with a byte, a stretch or their end changed: BadBundle, or a model that gives finite returns."""
    rng = np.random.default_rng(5)
    honest = models[family].to_payload()
    names, refused = sorted(honest), 0
    for _ in range(500):
        name = names[rng.integers(len(names))]
        content = bytearray(honest[name])
        place, kind = int(rng.integers(len(content))), int(rng.integers(3))
        if kind == 0:
            content[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            content[place : place + 16] = rng.bytes(16)
        else:
            del content[place:]
        try:
            model = HorizonModel.from_payload(honest | {name: bytes(content)})
        except BadBundle:
            refused += 1
            continue
        for horizon in model.horizons:
            rows: Floats = np.zeros((2, len(model.features(horizon))))
            assert np.isfinite(model.predict(horizon, rows)).all()
    assert refused > 400


def test_errors_are_of_one_tree() -> None:
    """Whatever a fit refuses, a trainer can catch and tell."""
    with pytest.raises(TidewheelError):
        HorizonModel.fit(candles(np.zeros(50), step=HOUR, start=0), family="baseline", seed=1)
