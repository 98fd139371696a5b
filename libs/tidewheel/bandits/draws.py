"""The dice of a decision: each decision of each pair has its own, and can be thrown again alone."""

import hashlib

import numpy as np

from tidewheel.contracts.keys import PairKey


def draws(seed: int, pair: PairKey, number: int) -> np.random.Generator:
    """The generator of decision `number` of `pair`.

    The key of the counter-based Philox generator is a digest of seed and pair, and the decision's number is the upper
    half of its counter: decisions share no draw, whatever they throw, and none needs those before it. Policies take
    uniform numbers only, which numpy derives from the counter in one fixed way.

    Args:
        seed: of the schema's policy.
        pair: whose decision.
        number: of the decision within its pair, >= 0.

    Reference: Salmon, Moraes, Dror & Shaw (2011), Parallel random numbers: as easy as 1, 2, 3.

    >>> btc = PairKey("momentum_breakout", "BTC/USDT")
    >>> draws(42, btc, 7).random() == draws(42, btc, 7).random() != draws(42, btc, 8).random()
    True
    """
    key = hashlib.sha256(f"{seed}:{pair}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"), counter=[0, 0, number, 0]))
