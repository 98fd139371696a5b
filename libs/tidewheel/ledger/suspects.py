"""Which free files a run takes when some of them have failed together: group testing (Dorfman, 1943).

A run claims many files, and one of them may be what kills its fit. Files that failed `SUSPECT` times are suspects:
a run then takes half of those that failed most often, alone, so that the guilty one is soon held by itself. Once it is
found, the files that failed before that are acquitted and taken together again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tidewheel.contracts.times import UtcMillis

SUSPECT = 3  #: failed attempts after which a file is tried in smaller groups


@dataclass(frozen=True, slots=True)
class Tried:
    """A free file as the consumer's record has it."""

    file_id: int
    attempts: int
    changed_at: UtcMillis  #: of its last failure; of its listing where it never failed


def choose(free: Sequence[Tried], held_attempts: Sequence[int], poison_at: UtcMillis) -> list[Tried]:
    """What a run takes of `free` (oldest data first); it holds files with these attempts, the present one counted.

    `poison_at` is when a file was last found guilty. Others go on meanwhile: files that waited since before the
    suspects' last failure come first. A run that holds suspects and asks again, for want of bars, gets more of them,
    and the others when there are none left.
    """
    suspects = [each for each in free if each.attempts >= SUSPECT and each.changed_at > poison_at]
    known = {each.file_id for each in suspects}
    others = [each for each in free if each.file_id not in known]
    holds_suspects = any(attempts > SUSPECT for attempts in held_attempts)
    if not suspects or (held_attempts and not holds_suspects) or _others_turn(suspects, others, held_attempts):
        return others
    most = max(each.attempts for each in suspects)
    group = [each for each in suspects if each.attempts == most]
    return group[: max(1, len(group) // 2)]


def _others_turn(suspects: Sequence[Tried], others: Sequence[Tried], held_attempts: Sequence[int]) -> bool:
    if held_attempts or not others:
        return False
    return min(each.changed_at for each in others) < max(each.changed_at for each in suspects)
