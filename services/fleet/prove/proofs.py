"""The list of proofs. A proof's own imports wait until it runs."""

from services.fleet.prove import (
    bits,
    broker,
    calls,
    chaos,
    claims,
    crashes,
    exchange,
    hostile,
    promotions,
    regimes,
    swaps,
    zombies,
)
from services.fleet.prove.proof import Proof

PROOFS = (
    Proof(
        name="claims",
        promise="R1: no file is lost and none is consumed twice, whatever is killed, frozen or cut off",
        trials=1_000,
        quick=20,
        run=claims.prove,
    ),
    Proof(
        name="chaos",
        promise="R1, R5, R6: the fleet's trainers train every file once and end every run, whatever is killed",
        trials=60,
        quick=2,
        run=chaos.prove,
    ),
    Proof(
        name="calls",
        promise="R2: a worker may die at any system call; the next one carries on, and every file is trained once",
        trials=calls.EVERY,
        quick=4,
        run=calls.prove,
    ),
    Proof(
        name="zombies",
        promise="R3: a holder whose lease has ended never commits",
        trials=12_000,
        quick=400,
        run=zombies.prove,
    ),
    Proof(
        name="swaps",
        promise="R7: a reader sees one intact version, whenever `current` is moved",
        trials=10_000,
        quick=100,
        run=swaps.prove,
    ),
    Proof(
        name="promotions",
        promise="R8: 50 promotions under 200 requests a second drop none, mix none, and are served within 1 s",
        trials=50,
        quick=3,
        run=promotions.prove,
    ),
    Proof(
        name="crashes",
        promise="R7: whatever a crash leaves unwritten, the old version or the new one is whole",
        trials=100_000,
        quick=40,
        run=crashes.prove,
    ),
    Proof(
        name="hostile",
        promise="R9: a hostile bundle is refused with its reason; nothing of it runs, and the reader lives on",
        trials=100,
        quick=100,
        run=hostile.prove,
    ),
    Proof(
        name="bits",
        promise="R9: a flipped bit of a bundle never reaches a request",
        trials=1_000,
        quick=60,
        run=bits.prove,
    ),
    Proof(
        name="exchange",
        promise="R11: what is stored of a rude exchange is its truth, and nobody knocks while banned",
        trials=20_000,
        quick=1_500,
        run=exchange.prove,
    ),
    Proof(
        name="broker",
        promise="R5: whatever becomes of the broker, work goes on within 30 s of its return, each run once",
        trials=60,
        quick=4,
        run=broker.prove,
    ),
    Proof(
        name="regimes",
        promise="a regime means the same: for every seed, after every retrain, whatever comes later",
        trials=10,
        quick=1,
        run=regimes.prove,
    ),
)
