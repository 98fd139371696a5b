"""R12, outcomes: engines report over and over from eight threads, are killed and cut off; then the sums are compared.

What the posterior should hold is added up here in exact fractions, from the tables alone.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.fleet.local.processes import Child, tail
from services.fleet.prove.apparatus import beside
from services.fleet.prove.ground import DIALECTS, Place, plain
from services.fleet.prove.programs import tellers
from services.fleet.prove.programs.nursery import CRASHES, living, strike
from services.fleet.prove.programs.tellers import PAIRS, RULES, rewards_of
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import PosteriorUnusable, TidewheelError
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import PolicyName, Reason
from tidewheel.ledger.control.records import Asked, Choice
from tidewheel.ledger.open import open_ledger

if TYPE_CHECKING:
    from tidewheel.bandits.posterior import Posterior

SAME = 1e-9  #: relative to the largest sum
_PRESETS = ("fast", "slow")
_POSTS_EACH = 5  #: of a decision, on average
_PAUSES = (0.1, 0.5)  #: seconds between two blows
_NO_PROGRESS_SECONDS = 60.0


def prove(budget: Budget, tell: Tell, *, program: str = tellers.__name__) -> Tally:
    """A trial is an answered post; each dialect takes half of them."""
    dice, tally = random.Random(budget.seed), Tally()
    blows: Counter[str] = Counter()
    for number, dialect in enumerate(DIALECTS, start=1):
        place, share = budget.ground.fresh(dialect), budget.trials // len(DIALECTS)
        _decide(place, max(8, share // _POSTS_EACH), dice)
        nursery = beside.start(program, place.dsn, place.data_dir, folder=place.data_dir)
        try:
            for answered in _storm(place, dialect, nursery, dice, blows):
                tell(min(1.0, (number - 1 + answered / share) / len(DIALECTS)), f"{dialect}, {answered} posts")
                if answered >= share and not _open(place):
                    break
        finally:
            nursery.ask_to_stop()
            nursery.wait_stopped(time.monotonic() + 10)
        wrong, worst = judge(place)
        for each in wrong:
            tally.broken(f"{dialect}: {each}")
        posts = Counter(post.word for post in answers(place.data_dir))
        tally.trials += sum(posts.values())
        told = ", ".join(f"{count} {word}" for word, count in sorted(posts.items()))
        tally.figures.append(f"{dialect}: {told}; furthest from the exact sums: {worst:.1e}")
        budget.ground.drop(place)
    tally.figures.append(", ".join(f"{count} {kind}" for kind, count in sorted(blows.items())))
    return tally


def _decide(place: Place, count: int, dice: random.Random) -> None:
    """Decisions of both pairs, in contexts that are drawn."""
    ledger = open_ledger(place.dsn, place.data_dir)
    try:
        for key in PAIRS:
            for preset in _PRESETS:
                ledger.presets.register(key, preset, {"name": preset}, "prove")
        for made in ledger.decisions.decide([_asked(dice) for _ in range(count)]):
            if isinstance(made, TidewheelError):
                raise made
    finally:
        ledger.close()


def _asked(dice: random.Random) -> Asked:
    choice = Choice(
        preset_id=dice.choice(_PRESETS),
        reason=Reason.EXPLORED,
        context=(1.0, dice.gauss(0, 1), dice.uniform(-3, 3)),
        features_used={},
        propensities=dict.fromkeys(_PRESETS, 0.5),
        policy=PolicyName.LINTS,
        policy_version="prove",
        settle_within_ms=86_400_000,
    )
    return Asked(key=dice.choice(PAIRS), signature="prove", actor="prove", choose=lambda _: choice)


def _storm(place: Place, dialect: str, nursery: Child, dice: random.Random, blows: Counter[str]) -> Iterator[int]:
    """A blow now and then, once there are answers; how many there are."""
    answered, since = 0, time.monotonic()
    while True:
        assert nursery.exit_code() is None and time.monotonic() - since < _NO_PROGRESS_SECONDS, tail(nursery.log)
        time.sleep(dice.uniform(*_PAUSES))
        now = sum(1 for _ in answers(place.data_dir))
        answered, since = now, (since if now == answered else time.monotonic())
        yield answered
        if not answered:
            continue
        if dialect == "postgresql" and dice.random() < 0.5:
            place.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'tidewheel' AND state <> 'idle' ORDER BY random() LIMIT 3"
            )
            blows["cuts of connections"] += 1
        else:
            strike(dice.choice(living(nursery.pid)), signal.SIGKILL)
            blows["kills"] += 1


def _open(place: Place) -> bool:
    return bool(place.rows("SELECT count(*) FROM decisions WHERE state = 'open'")[0][0])


@dataclass(frozen=True, slots=True)
class Post:
    """A teller's own record of an answer."""

    decision: int
    word: str  #: learnt, repeated, or an error's code
    reward: float  #: that was posted


def answers(folder: Path) -> list[Post]:
    """All records; a line that a kill cut short is left out."""
    lines = (line for file in folder.glob("posts-*") for line in file.read_text().splitlines(keepends=True))
    split = [line.split() for line in lines if line.endswith("\n")]
    return [Post(int(decision), word, float(reward)) for decision, word, reward in split]


def judge(place: Place) -> tuple[list[str], float]:
    """Everything that is wrong, from the tables and the tellers' records; and how far a sum is from the exact one."""
    wrong = [*_counted_once(place), *_agree(place)]
    crashes = place.data_dir / CRASHES
    if crashes.exists():
        wrong.append(f"{len(crashes.read_text().split())} tellers died of an error of ours")
    worst = 0.0
    ledger = open_ledger(place.dsn, place.data_dir)
    try:
        for key in PAIRS:
            stored = {
                at: None if isinstance(each, PosteriorUnusable) else each.to_bytes()
                for at, each in ledger.posteriors.of(key).items()
            }
            if stored != {at: each.to_bytes() for at, each in ledger.posteriors.rebuild(key).items()}:
                wrong.append(f"the posterior of {key} is not what its log adds up to, bit for bit")
    finally:
        ledger.close()
    for preset in _PRESETS:
        worst = max(worst, _from_exact(place, PAIRS[0], preset))
    if worst > SAME:
        wrong.append(f"a sum of {PAIRS[0]} is {worst:.1e} from the exact one")
    return wrong, worst


def _counted_once(place: Place) -> Iterator[str]:
    """Every decision has one outcome, learnt of it, and the outcomes of a pair are numbered without a hole."""
    rows = place.rows(
        "SELECT d.id, d.state, d.pair_id, o.seq, o.reward FROM decisions d"
        " LEFT JOIN outcomes o ON o.decision_id = d.id AND o.pair_id = d.pair_id ORDER BY d.pair_id, o.seq"
    )
    numbers: dict[int, list[int]] = {}
    for decision, state, pair, seq, reward in rows:
        numbers.setdefault(pair, []).append(seq)
        if state != "settled" or reward not in rewards_of(decision):
            yield f"decision {decision} is {state} with the reward {reward}"
    for pair, seqs in numbers.items():
        if seqs != [*range(1, len(seqs) + 1)]:
            yield f"the outcomes of pair {pair} are numbered {seqs}"


def _agree(place: Place) -> Iterator[str]:
    """What the tellers were answered is what the tables say, and nobody was told twice that an outcome is learnt."""
    kept = dict(place.rows("SELECT decision_id, reward FROM outcomes"))
    learnt: Counter[int] = Counter()
    for post in answers(place.data_dir):
        same = kept.get(post.decision) == post.reward
        learnt[post.decision] += post.word == "learnt"
        if (post.word in ("learnt", "repeated")) != same or post.word not in ("learnt", "repeated", "another_reward"):
            yield f"{post.reward} of {post.decision} was answered {post.word}; kept is {kept.get(post.decision)}"
    for decision, times in learnt.items():
        if times > 1:
            yield f"{times} posts were told that they settled decision {decision}"


def _from_exact(place: Place, key: PairKey, preset: str) -> float:
    """Largest difference of a stored sum from the sum of the rows in fractions, relative to the largest sum."""
    rows = place.rows(
        "SELECT d.context, o.reward FROM outcomes o JOIN decisions d ON d.id = o.decision_id"
        " JOIN guardrails g ON g.id = d.pair_id JOIN presets p ON p.pair_id = g.id AND p.preset_id = d.preset_id"
        " WHERE g.strategy = ? AND g.instrument = ? AND p.preset_id = ?",
        key.strategy, key.instrument, preset,
    )  # fmt: skip
    low, high = RULES[key].clip
    taught = [(plain(context), min(max(reward, low), high)) for context, reward in rows]
    if not taught:
        return 0.0
    size = len(taught[0][0])
    exact = [
        [sum(Fraction(x[i]) * Fraction((*x, reward)[j]) for x, reward in taught) for j in range(size + 1)]
        for i in range(size)
    ]
    state = place.rows(
        "SELECT t.state FROM posteriors t JOIN guardrails g ON g.id = t.pair_id"
        " JOIN presets p ON p.pair_id = g.id AND p.digest = t.digest"
        " WHERE g.strategy = ? AND g.instrument = ? AND p.preset_id = ?",
        key.strategy, key.instrument, preset,
    )  # fmt: skip
    if not state:
        return float("inf")
    from tidewheel.bandits.posterior import Posterior

    return _apart(Posterior.from_bytes(state[0][0]), exact)


def _apart(posterior: "Posterior", exact: list[list[Any]]) -> float:
    largest = max(abs(value) for row in exact for value in row)
    return max(
        float(abs(Fraction(float(posterior.hi[i, j])) + Fraction(float(posterior.lo[i, j])) - value) / largest)
        for i, row in enumerate(exact)
        for j, value in enumerate(row)
    )
