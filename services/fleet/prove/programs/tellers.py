"""The tellers of the proof `outcomes`: engines that report what came of decisions, over and over, made to be killed."""

import os
import random
import secrets
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from services.fleet.prove.programs.nursery import IDLE_SECONDS, crash, opened, raise_workers
from tidewheel.contracts.errors import TidewheelError, Unavailable
from tidewheel.contracts.keys import PairKey
from tidewheel.ledger.control.records import Decision, Learnt, Report, Rules
from tidewheel.ledger.open import Ledger

PAIRS = (PairKey("momentum", "BTC/USDT"), PairKey("momentum", "ETH/USDT"))
THREADS = 4  #: of each teller
_EACH = 2  #: tellers
_RULES = Rules(clip=(-3.0, 3.0), default=0.0, half_life_ms=None, max_key_share=1.0, max_drawdown=None)
#: what was learnt of the second pair fades, so that there the order of learning shows
RULES = {PAIRS[0]: _RULES, PAIRS[1]: replace(_RULES, half_life_ms=2_000)}


def rewards_of(decision: int) -> tuple[float, float]:
    """What is told of a decision: the truth, and the mistake. Some lie beyond the clip."""
    truth = (decision * 7919 % 1000) / 137 - 3.6
    return truth, truth + 1.0


def main() -> None:
    """`python -m services.fleet.prove.programs.tellers DSN FOLDER`: keeps the tellers alive until SIGTERM."""
    from tidewheel.bandits import posterior  # noqa: F401 - scipy, once for all forks

    dsn, folder = sys.argv[1], Path(sys.argv[2])
    ledger = opened(dsn, folder)
    made = [each.decision for key in PAIRS for each in ledger.decisions.log(key)]
    ledger.close()
    raise_workers([str(each) for each in range(_EACH)], lambda _, nursery: _work(dsn, folder, made, nursery), folder)


def _work(dsn: str, folder: Path, made: list[Decision], nursery: int) -> None:
    ledger = opened(dsn, folder)

    def tell() -> None:
        try:
            with (folder / f"posts-{secrets.token_hex(6)}").open("a", buffering=1) as posts:
                while os.getppid() == nursery:
                    _post(ledger, made, posts)
        except BaseException:  # noqa: BLE001 - a thread's error is the teller's
            crash()

    threads = [threading.Thread(target=tell) for _ in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def _post(ledger: Ledger, made: list[Decision], posts: TextIO) -> None:
    """One to four reports at once; the answers are written down, as far as we live to see them."""
    dice = random.Random(os.urandom(8))
    reports = [_report(each, dice) for each in dice.sample(made, dice.randint(1, 4))]
    try:
        answers = ledger.outcomes.learn(reports)
    except Unavailable:
        time.sleep(dice.uniform(0, IDLE_SECONDS))
        return
    for report, answer in zip(reports, answers, strict=True):
        posts.write(f"{report.event_id} {_word(report, answer)}\n")


def _report(decision: Decision, dice: random.Random) -> Report:
    """What came of it, or now and then a mistake: whichever comes first is learnt."""
    told = dice.choices(rewards_of(decision.id), (9, 1))[0]
    return Report(
        key=decision.key,
        preset_id=decision.preset_id,
        reward=told,
        actor="prove",
        rules=RULES[decision.key],
        config_id=decision.config_id,
        event_id=f"{decision.id}",
    )


def _word(report: Report, answer: Learnt | TidewheelError) -> str:
    if isinstance(answer, TidewheelError):
        return f"{answer.code} {report.reward!r}"
    return f"{'repeated' if answer.repeated else 'learnt'} {report.reward!r}"


if __name__ == "__main__":
    main()
