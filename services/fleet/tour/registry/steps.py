"""The story: candles in, a baseline, a user's forest, one of ours, forecasts, what came of them, what is refused."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.fleet.display import Display
from services.fleet.simulator.clock import turn_clock
from services.fleet.story import Stage, StepFailed
from services.fleet.tour.checks import Checks
from services.fleet.tour.command import tidewheel
from services.fleet.tour.registry import market, outsider
from services.fleet.tour.registry.checks import hold_against_truth
from services.fleet.tour.replay import play_replay
from tidewheel.contracts.keys import BASELINE
from tidewheel.contracts.roles import Role
from tidewheel.contracts.times import HOUR
from tidewheel.features.frames import Floats

PAST, LIVE = 8_000, 102  #: hours of history, and hours that pass while forecasts are made
STREAM = f"binance:{market.SYMBOL}:1h"
FOREST, MINE = "random_forest", "my_forest"
#: What is asked: model, horizon, every so many hours; a week's forecast need not be made each hour.
ASKED = [(BASELINE, 1, 1), (BASELINE, 3, 1), (BASELINE, 24, 4), (BASELINE, 168, 24)]
ASKED += [(FOREST, 1, 1), (FOREST, 3, 1), (FOREST, 24, 4), (FOREST, 168, 24), (MINE, outsider.HORIZON, 1)]
RELATIVE = {"features": ["lag_1h", "lag_2h", "lag_24h", "SMA_10h", "price_change_1h"], "units": "relative"}
_PATIENCE = 60.0  #: seconds, for what the fleet does by itself
_LOOK_SECONDS = 0.2


@dataclass
class Tour:
    """What the steps share beside the stage."""

    close: Floats  #: of every hour of the market
    checks: Checks
    answers: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)  #: saved, by model and horizon
    trained: dict[str, Any] = field(default_factory=dict)  #: what `tidewheel train registry` told
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)  #: GET /models/{name}/metrics
    refused: list[tuple[str, int, str, str]] = field(default_factory=list)  #: what was tried, status, code, sentence


def run_tour(home: Path, display: Display, *, seed: int) -> Tour:
    """Play it in `home`, which is wiped first; its violations are told by the tour.

    Raises:
        StepFailed: a step could not go on at all; names it and why.
    """
    tour = Tour(market.closes(PAST + LIVE, seed), Checks(display))
    acts: tuple[tuple[str, Callable[[Tour, Stage], None]], ...] = (
        (f"ingest {PAST} hours", _ingest_past),
        ("the baseline trains and registers itself", _baseline),
        ("a user fits a forest of his own and registers it", _register),
        ("train our forest, and compare it with the baseline", _train),
        (f"{LIVE} hours pass: forecast, save, see what came", _forecast),
        ("measure", _measure),
        ("train the baseline again: the champion stays unless it is surely beaten", _train_again),
        ("what is refused", _refuse),
        ("a pickle is converted by hand, then served", _trust),
        ("check the ledger", _fsck),
    )
    # Beside the home, which is wiped when the story begins.
    return play_replay(home, display, market.write(home.parent, tour.close), tour, acts)


def _ingest(stage: Stage, hours: int) -> None:
    """Let the exchange's clock stand at the end of that hour, and ingest up to there."""
    turn_clock(stage.fleet.plan.url(Role.EXCHANGE_SIM), now=market.START + hours * HOUR)
    for stream in stage.ask("POST", "/ingest_once", until="now")["streams"]:
        if not stream["caught_up"]:
            raise StepFailed(f"{stream['stream']}: {stream.get('error')}")


def _ingest_past(tour: Tour, stage: Stage) -> None:
    _ingest(stage, PAST)
    (stream,) = stage.ask("GET", "/streams")["streams"]
    tour.checks.that("every hour is stored", stream["watermark"] == market.START + PAST * HOUR, stream)
    stage.display.note(f"{STREAM}: {PAST} hours, 333 days")


def _waited(what: str, look: Callable[[], Any]) -> Any:
    """What `look` gives once it gives something."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise StepFailed(f"{what} has not happened within {_PATIENCE:.0f} s")
        time.sleep(_LOOK_SECONDS)
    return found


def _versions(stage: Stage, name: str) -> list[dict[str, Any]]:
    return [each for each in stage.ask("GET", "/models")["models"] if each["model_name"] == name]


def _baseline(tour: Tour, stage: Stage) -> None:
    def champion() -> list[dict[str, Any]]:
        return [each for each in _versions(stage, BASELINE) if "champion" in each["aliases"]]

    (model,) = _waited("the registration of the baseline", champion)
    tour.checks.that("it forecasts all four horizons", model["prediction_horizons"] == [1, 3, 24, 168], model)
    judged = model["verdict"]["steps"][-1]["reason"]
    stage.display.note(f"{BASELINE} {model['version']}: horizons {model['prediction_horizons']}; {judged}")
    answer = stage.ask("GET", f"/predict/{BASELINE}/3")
    tour.checks.that("its price is the market's last close", answer["current_price"] == tour.close[PAST - 1], answer)
    stage.display.note(_in_words(answer))
    printed = {"model_name": "test_model", "model_type": "LinearRegression", "prediction_horizons": [1, 3]}
    body = printed | {"file_path": "/app/trained_models/baseline_model.joblib"}
    tour.checks.answered("its file is registered as test_model", stage.edge.post("/models/register", json=body), 201)
    same = stage.ask("GET", "/predict/test_model/3")
    agree = abs(same["predicted_value"] / answer["predicted_value"] - 1) < 1e-12
    tour.checks.that("the file forecasts what the baseline does", agree, (same, answer))


def _in_words(answer: Mapping[str, Any]) -> str:
    around = answer["interval"]
    told = around["why"] if around["lower"] is None else f"90 % {around['lower']:,.0f} to {around['upper']:,.0f}"
    return (
        f"{answer['model_name']} over {answer['prediction_horizon']} h: {answer['current_price']:,.2f} -> "
        f"{answer['predicted_value']:,.2f} ({told})"
    )


def _registration(file: str, name: str = MINE) -> dict[str, Any]:
    return {
        "model_name": name, "model_type": "RandomForest", "prediction_horizons": [outsider.HORIZON],
        "file_path": f"/app/trained_models/{file}", "feature_config": RELATIVE,
    }  # fmt: skip


def _models_dir(stage: Stage) -> Path:
    return stage.fleet.plan.home / "trained_models"


def _register(tour: Tour, stage: Stage) -> None:
    home = stage.fleet.plan.home
    _models_dir(stage).mkdir(exist_ok=True)
    dsn = f"sqlite:///{home / 'ml' / 'manifest.sqlite'}"
    program = (sys.executable, "-m", "services.fleet.tour.registry.outsider")
    done = subprocess.run(
        [*program, dsn, str(home / "ml"), STREAM, str(_models_dir(stage))], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StepFailed(f"the user's program ended with {done.returncode}: {done.stderr[-500:]}")
    answer = stage.edge.post("/models/register", json=_registration(outsider.FOREST))
    model = tour.checks.answered("the forest is registered", answer, 201)
    tour.checks.that("the first version of a name is its champion", model.get("aliases") == ["champion"], model)
    again = stage.edge.post("/models/register", json=_registration(outsider.FOREST))
    same = tour.checks.answered("the same again is the same version", again, 200)
    tour.checks.that("the same again is the same version", same.get("version") == model.get("version"), same)
    stage.display.note(f"{MINE} {model['version']}: {model['format']}, tried in a child process, champion")


def _trained(stage: Stage, name: str) -> dict[str, Any]:
    done = tidewheel(stage, "train", "registry", "--model", name, "--json")
    if done.returncode != 0:
        raise StepFailed(f"`tidewheel train registry` ended with {done.returncode}: {done.stderr[-500:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    stage.display.note(f"{told['model']} {told['version']}: {told['state']}; {told['verdict']}")
    return told


def _train(tour: Tour, stage: Stage) -> None:
    told = tour.trained = _trained(stage, FOREST)
    (model,) = _versions(stage, FOREST)
    tour.checks.that("the verdict is on record", model["verdict"] is not None, model)
    tour.checks.that("it is champion exactly if it passed", ("champion" in model["aliases"]) == told["moved"], model)
    tour.checks.that("on this market the forest is the better one", told["moved"] is True, told)
    stage.display.note("the alias champion of random_forest names it now" if told["moved"] else "no alias was moved")


def _forecast(tour: Tour, stage: Stage) -> None:
    """Each hour: forecasts of what is due, saved; then the next hour is ingested."""
    tour.answers = {(name, horizon): [] for name, horizon, _ in ASKED}

    def ask(asked: tuple[str, int]) -> dict[str, Any]:
        return stage.ask("GET", f"/predict/{asked[0]}/{asked[1]}", save_to_db="true")

    bases: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        for hour in range(LIVE):
            due = [(name, horizon) for name, horizon, every in ASKED if hour % every == 0]
            for asked, answer in zip(due, pool.map(ask, due), strict=True):
                tour.answers[asked].append(answer)
            bases += [market.START + (PAST + hour - 1) * HOUR] * len(due)
            _ingest(stage, PAST + hour + 1)
            stage.display.progress((hour + 1) / LIVE, f"{len(bases)} forecasts")
    made = [answer for answers in tour.answers.values() for answer in answers]
    tour.checks.that("each was saved once", len({each["prediction_id"] for each in made}) == len(made), len(made))
    tour.checks.that("each stands on the last complete hour", sorted(e["base_timestamp"] for e in made) == bases)
    stage.display.note(f"{len(made)} forecasts saved; the last: {_in_words(made[LIVE - 1])}")


def _over(tour: Tour, name: str, horizon: int) -> list[tuple[dict[str, Any], float]]:
    """The answers whose hour is over, each with the close that came, as the tour itself wrote it."""
    found = []
    for answer in tour.answers[name, horizon]:
        hour = (answer["predicted_time"] - market.START) // HOUR
        if hour < len(tour.close):
            found.append((answer, float(tour.close[hour])))
    return found


def _measure(tour: Tour, stage: Stage) -> None:
    """Wait until everything is scored whose hour is over, and hold the metrics against our own sums."""
    expected = {(name, horizon): len(_over(tour, name, horizon)) for name, horizon, _ in ASKED}

    def scored() -> bool:
        for name in (BASELINE, FOREST, MINE):
            tour.metrics[name] = stage.ask("GET", f"/models/{name}/metrics")
        found = {(name, each["horizon"]): each["n"] for name in tour.metrics for each in tour.metrics[name]["horizons"]}
        return found == expected

    _waited("the scoring of what is over", scored)
    for name, told in tour.metrics.items():
        for each in told["horizons"]:
            came = _over(tour, name, each["horizon"])
            hold_against_truth(tour.checks, f"of {name} over {each['horizon']} h", each, came)
        stage.display.note(f"{name}: {', '.join(map(_measured, told['horizons']))}")


def _measured(each: Mapping[str, Any]) -> str:
    if not each["n"]:
        return f"{each['horizon']} h: {each['open']} wait"
    skill = "no skill" if each["skill"] is None else f"skill {each['skill']:+.2f}"
    covered = "" if each["coverage"] is None else f", held {each['coverage']:.0%}"
    return f"{each['horizon']} h: {skill}{covered} of {each['n']}"


def _train_again(tour: Tour, stage: Stage) -> None:
    told = _trained(stage, BASELINE)
    answer = stage.ask("GET", f"/predict/{BASELINE}/1")
    tour.checks.that("four days more are no surely better model", told["moved"] is False, told)
    before = tour.answers[BASELINE, 1][-1]["model_version"]
    tour.checks.that("the champion goes on", answer["model_version"] == before != told["version"], answer)


def _refuse(tour: Tour, stage: Stage) -> None:
    edge, folder = stage.edge, _models_dir(stage)

    def refused(what: str, status: int, code: str, method: str, path: str, body: Mapping[str, Any] | None) -> None:
        told = tour.checks.answered(f"{what} is refused", edge.request(method, path, json=body), status, code)
        tour.refused.append((what, status, code, str(told.get("detail"))))
        stage.display.note(f"{what}: {status} {code}: {str(told.get('detail'))[:160]}")

    line = tour.checks.answered(
        "a line is registered", edge.post("/models/register", json=_registration("my_line.skops")), 201
    )
    tour.checks.that("a second version waits", line.get("aliases") == [], line)
    file, named = folder / outsider.LINE, {"model_name": MINE, "model_version": line.get("version")}
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    refused("a changed file", 409, "model_file_changed", "POST", "/predict", named)
    file.write_bytes(content)
    tour.checks.answered("put back, it answers", edge.post("/predict", json=named), 200)
    (folder / "link.skops").symlink_to("/etc/hostname")
    outside = {"a path outside": "../ml/manifest.sqlite", "an absolute path": "/etc/passwd", "a link": "link.skops"}
    for what, path in outside.items():
        body = {**_registration("x"), "file_path": path}
        refused(what, 422, "path_outside_root", "POST", "/models/register", body)
    (folder / "torn.skops").write_bytes(content[: len(content) // 2])
    refused("half a file", 422, "bad_model", "POST", "/models/register", _registration("torn.skops"))
    refused("an unknown name", 400, "model_not_found", "GET", "/predict/nobody/3", None)
    refused("another horizon", 400, "horizon_not_supported", "GET", f"/predict/{MINE}/5", None)


def _trust(tour: Tour, stage: Stage) -> None:
    edge, name = stage.edge, "old_line"
    model = tour.checks.answered(
        "a pickle is registered", edge.post("/models/register", json=_registration(outsider.PICKLE, name)), 201
    )
    tour.checks.that("and not trusted", model.get("trusted") is False, model)
    asked = {"model_name": name, "prediction_horizon": outsider.HORIZON}
    told = tour.checks.answered("it is not opened", edge.post("/predict", json=asked), 403, "model_not_trusted")
    stage.display.note(str(told.get("detail")))
    done = tidewheel(stage, "models", "trust", str(model.get("content_digest")))
    tour.checks.that("it is converted", done.returncode == 0, done.stderr)
    answer = tour.checks.answered("then it answers", edge.post("/predict", json=asked), 200)
    twin = stage.ask("GET", f"/predict/{MINE}/{outsider.HORIZON}", model_version=_line_version(stage))
    same = abs(answer.get("predicted_value", 0.0) / twin["predicted_value"] - 1) < 1e-12
    tour.checks.that("as the same line does that was saved as skops", same, (answer, twin))
    if done.returncode == 0:
        stage.display.note(f"converted in a child without files, network and programs; {_in_words(answer)}")


def _line_version(stage: Stage) -> str:
    (line,) = [each for each in _versions(stage, MINE) if each["file_path"] == outsider.LINE]
    return str(line["version"])


def _fsck(tour: Tour, stage: Stage) -> None:
    done = tidewheel(stage, "ledger", "fsck")
    tour.checks.that("the ledger is sound", done.returncode == 0, done.stdout[-500:])
