"""Slips that change nothing that anybody could see, each with the reason."""

from typing import NamedTuple

from tests.sql_mutants.hunt import Mutant


class Same(NamedTuple):
    """Slips of one kind at one place."""

    place: str
    slip: str  #: how its name begins
    code: str  #: in the line that executes the statement; any where empty
    reason: str


_MILLISECOND = "one millisecond more or less: whoever changes the row first decides, and the fence tells the other"
_UNIQUE_FENCE = "a fence is drawn once among all leases, so it names the row alone"
_LIES_SO = "the rows lie in this order; that it is asked for keeps it so"
_LONGER_WAY = "a suspect found where none is leads the longer way, by choose(), to the same files"
_VERSION = "without WHERE runs.version IS NOT DISTINCT FROM"
_READ_MORE = "an interval that is too wide: of what is read the newest bars are told"
_DUE = "one millisecond more or less; the settling looks again, under the pair's lock"
_CUT = "what is read beyond the interval is cut off"

EQUIVALENT = (
    Same("leases.acquire", "leases.until <= ?: lt", "", _MILLISECOND),
    Same("leases.guard", "leases.until > ?: ge", "", _MILLISECOND),
    Same("leases.get", "leases.until > ?: ge", "", _MILLISECOND),
    Same("leases.end", "leases.until > ?: ge", "", _MILLISECOND),
    Same("leases.renew", "leases.until > ?: ge", "", _MILLISECOND),
    Same("replicas.live", "replicas.seen_at > ? - ?: ge", "", "one millisecond more or less of fifteen seconds"),
    Same("replicas.hears_of", "replicas.seen_at > ? - ?: ge", "", "one millisecond more or less of fifteen seconds"),
    Same("runs.stale", "leases.until > ?: ge", "", _MILLISECOND),
    Same("leases.guard", "without WHERE leases.name", "", _UNIQUE_FENCE),
    Same("leases.renew", "without WHERE leases.name", "", _UNIQUE_FENCE),
    Same("leases.release", "without WHERE leases.name", "", _UNIQUE_FENCE),
    Same("run_lease._open_or_settled_as", "without WHERE runs.id", "", _UNIQUE_FENCE),
    Same("run_lease._open_or_settled_as", f"{_VERSION} NULL", "", "a run that ended so never has a version"),
    Same("leases._held", "leases.until > ?: ge", "", _MILLISECOND),
    Same("runs.lease", "without WHERE runs.id", "with_for_update", "it locks more runs than it need"),
    Same("runs.stale", "without ORDER BY", "", _LIES_SO),
    Same("control/decisions._with_outcomes", "without ORDER BY decisions.number", "", _LIES_SO),
    Same("control/outcomes._settle", "without ORDER BY decisions.number", "", _LIES_SO),
    Same("control/outcomes._settle", "decisions.expires_at < ?: le", "", _DUE),
    Same("control/outcomes.due", "decisions.expires_at < ?: le", "", _DUE),
    Same("control/outcomes.due", "without ORDER BY guardrails.id", "", _LIES_SO),
    Same("control/pairs._locked", "ORDER BY guardrails.id DESC", "", "any order will do that is the same for all"),
    Same("control/pairs._locked", "without ORDER BY guardrails.id", "", _LIES_SO),
    Same("control/posteriors._learnt", "without ORDER BY outcomes.seq", "", _LIES_SO),
    Same("control/posteriors._learnt", "without LIMIT", "", "the pages are there to spare memory"),
    Same("control/presets.of", "without ORDER BY presets.id", "", _LIES_SO),
    Same("control/presets.pairs", "without ORDER BY guardrails.id", "", _LIES_SO),
    Same(
        "control/reports.read_meant",
        "without WHERE",
        "",
        "more is read than is asked for, and nobody asks for the rest",
    ),
    Same("control/switches.covering", "without WHERE", "", "each pair looks its own scope up among what is read"),
    Same("control/learning._left_out", "without LIMIT", "", "the share is taken of the newest 199 in any case"),
    Same("control/checks._holes", "without ORDER BY", "", _LIES_SO),
    Same("control/checks.wrong_outcomes", "without ORDER BY", "", _LIES_SO),
    Same("control/checks.wrong_posteriors", "without ORDER BY", "", _LIES_SO),
    Same("registry/aliases.history", "without ORDER BY model_aliases.id", "", _LIES_SO),
    Same("claims.claim", "ORDER BY files.id", "tried =", "among suspects of one hour any half will do"),
    Same("claims.claim", "without ORDER BY files.id", "tried =", "among suspects of one hour any half will do"),
    Same("leases.acquire", "ON CONFLICT without WHERE", ".one()", "what is taken here was ended by this transaction"),
    Same("backfills.stale", "leases.until > ?: ge", "", _MILLISECOND),
    Same("bars.last", "candles.open_time >= ?", "", _READ_MORE),
    Same("bars.last", "without", "", _READ_MORE),
    Same("bars.last", "max(candles.open_time): the other end", "", _READ_MORE),
    Same("bars.read", "files.end_time > ?: ge", "", _CUT),
    Same("bars.read", "files.start_time < ?: le", "", _CUT),
    Same("bars.read", "without WHERE files.end_time", "", _CUT),
    Same("bars.read", "without WHERE files.start_time", "", _CUT),
    Same("bars.read", "ORDER BY", "", "in this order they need not be sorted again, as they otherwise are"),
    Same("bars.read", "without ORDER BY", "", "in this order they need not be sorted again, as they otherwise are"),
    Same("bulk._piece", "files.end_time > ?: ge", "", _CUT),
    Same("bulk._piece", "files.start_time < ?: le", "", _CUT),
    Same("bulk._piece", "without WHERE files.end_time", "", _CUT),
    Same("bulk._piece", "without WHERE files.start_time", "", _CUT),
    Same("streams.stream_ids", "without WHERE", "", "each key looks its own row up among what is read"),
    Same("tail.read_tails", "candles.open_time < ?: le", "", _CUT),
    Same("tail.read_tails", "without WHERE candles.open_time", "", _CUT),
    Same("tail.read_tails", "without candles.open_time", "", "below the watermark the rows say what the files say"),
    Same("claims.give_back", "CASE WHEN (? = ?)", "", "a run that is not counted makes nothing poison"),
    Same("leases._next_fence", "without WHERE counters.name", "", "the table has this one row"),
    Same("claims._list_new_files", "without WHERE NOT", "", "ON CONFLICT leaves known files alone; this saves the try"),
    Same("claims.claim", "ORDER BY", "first() is None", "whether there is one does not depend on the order"),
    Same("claims.claim", "without ORDER BY", "first() is None", "whether there is one does not depend on the order"),
    Same(
        "claims.claim", "files.id = claims.file_id: ne", "first() is None", "a suspect without company is taken anyway"
    ),
    Same("claims.claim", "without FOR UPDATE", "first() is None", "what is then taken is locked by its own statement"),
    Same("claims.claim", "without LIMIT", "first() is None", "whether there is one does not depend on how many"),
    Same("claims.claim", "without WHERE", "first() is None", _LONGER_WAY),
    Same("claims.claim", "without (", "first() is None", _LONGER_WAY),
    Same("claims.claim", "without files.", "first() is None", _LONGER_WAY),
)


def reason(mutant: Mutant) -> str | None:
    """Why nobody could notice the slip; None where somebody should."""
    for same in EQUIVALENT:
        if mutant.place == same.place and mutant.slip.startswith(same.slip) and same.code in mutant.code:
            return same.reason
    return None
