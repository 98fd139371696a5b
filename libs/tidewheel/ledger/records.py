"""What leaves the ledger: frozen records. Times are UTC ms by the ledger's clock unless a field says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import BackfillState, GapState, Origin, PromotionAction, Purpose, RunState, Scope
from tidewheel.contracts.times import UtcMillis
from tidewheel.contracts.verdicts import Verdict

Json = Mapping[str, Any]  #: a JSON object


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Which ledger this is."""

    id: str  #: a UUID, drawn when it was made
    purpose: Purpose  #: a role of the other purpose refuses to start
    revision: str  #: of its tables
    created_at: UtcMillis  #: when it was made


@dataclass(frozen=True, kw_only=True, slots=True)
class Migrated:
    """What `migrate` did."""

    before: str | None  #: revision found; None where there was no ledger
    after: str  #: revision now


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to write as a run, a stream's writer or the keeper."""

    name: str  #: "run:42", "stream:binance:BTC/USDT:1m", "keeper"
    owner: str  #: instance that holds it, for people to read
    fence: int  #: grows with every grant, never reused; every guarded write presents it
    until: UtcMillis  #: the right ends here unless it is renewed


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A series of candles and how far it has come."""

    key: StreamKey
    origin: Origin  #: what the exchange said of itself at the first append; never changes
    watermark: UtcMillis | None  #: next expected open time; None before the first seal
    first_open: UtcMillis | None  #: open time of the oldest bar
    next_open: UtcMillis | None  #: one step after the newest bar, sealed or not; None without bars
    tail_bars: int  #: bars that wait for a seal
    tail_since: UtcMillis | None  #: when the oldest of them was recorded
    sealed_bars: int  #: bars in first revisions of files
    files: int  #: files of all revisions
    gaps_confirmed: int  #: holes that the exchange has confirmed to be empty
    gaps_healed: int  #: holes that later bars have filled
    gaps_open: int  #: holes that nothing has filled or confirmed


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The last trouble with a stream."""

    stream: str  #: its key; as the user wrote it where the exchange could not be asked
    code: str  #: of the error
    detail: str  #: what happened and what to do
    times: int  #: attempts that failed one after the other
    since: UtcMillis  #: the first of them
    failed_at: UtcMillis  #: the last of them
    over_at: UtcMillis | None  #: when an attempt went well again; None while it fails


@dataclass(frozen=True, kw_only=True, slots=True)
class Appended:
    """What one append brought."""

    stored: int  #: bars not known before
    duplicates: int  #: bars known with the same values; nothing was written for them
    revised: int  #: bars known with other values; the new ones are a further revision


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """Missing bars between two known ones; the interval is [start, end)."""

    key: StreamKey
    start: UtcMillis  #: open time of the first missing bar
    end: UtcMillis  #: open time of the next known bar
    state: GapState
    found_at: UtcMillis  #: when a seal passed it
    evidence: Mapping[str, Any]  #: what its state rests on: requests that agreed, reasons for which bars were refused
    changed_at: UtcMillis  #: when that was last looked at


@dataclass(frozen=True, kw_only=True, slots=True)
class Backfill:
    """Bars of the past that are fetched for a stream; the interval is [start, end)."""

    id: int
    key: StreamKey
    start: UtcMillis  #: open time of the first bar wanted, data time
    end: UtcMillis  #: data time
    cursor: UtcMillis  #: next open time to ask for; everything before it is stored, data time
    state: BackfillState
    fetched: int  #: bars that the exchange gave, known ones included
    reason: str | None  #: why it failed, was cancelled, or had to wait last
    created_at: UtcMillis
    changed_at: UtcMillis  #: when it last came on, or had to wait


@dataclass(frozen=True, kw_only=True, slots=True)
class RegimeState:
    """The newest regime of a stream."""

    key: StreamKey
    data_time: UtcMillis  #: open time of the newest bar that it has seen, data time
    probs: Mapping[str, float]  #: state -> filtered probability
    state: str  #: the most probable one
    version: str  #: model that said so
    changed_at: UtcMillis


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one check of `fsck` found."""

    check: str  #: name of the check
    ok: bool
    detail: str  #: one sentence; where not ok it names what is wrong
    count: int  #: how many things were looked at, or where not ok, are wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedFile:
    """An immutable run of candles of one stream; its interval is [start, end)."""

    id: int  #: grows in the order of sealing
    key: StreamKey  #: stream it belongs to
    start: UtcMillis  #: open time of the first bar
    end: UtcMillis  #: open time of the last bar + step
    bars: int  #: how many it holds; fewer than (end - start) / step where some are missing
    revision: int  #: 0 as first stored; above, corrections of bars that an earlier file holds
    digest: str  #: sha256 over the canonical columns
    csv_path: str  #: relative to DATA_DIR; the file may be gone once processed
    blob_path: str  #: relative to DATA_DIR; the archive
    source: str  #: who fetched the bars
    sealed_at: UtcMillis  #: when it became visible to consumers
    quarantined: str | None  #: why nobody may read it, or None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One training run of a consumer."""

    id: int
    consumer: str  #: whose claims it works on, such as "hmm" or "hmm-strict"
    family: str  #: whose versions it makes
    trigger: str  #: what asked for it, such as "api" or "cron"
    schedule_key: str | None  #: names the tick of a schedule; one run a key, ever
    state: RunState
    reason: str | None  #: why it was skipped, refused, failed or cancelled
    params: Json  #: what the caller asked for
    progress: Json  #: newest word from the child
    attempts: int  #: how often a worker took it up
    claimed_files: int  #: files that it held
    new_bars: int  #: bars in those files
    window_bars: int  #: bars that it trained on
    version: str | None  #: what it published, promoted or refused
    verdict: Verdict | None  #: what the gate said
    cancel_requested: bool  #: a person wants it to stop
    created_at: UtcMillis
    started_at: UtcMillis | None  #: when it was first taken up
    finished_at: UtcMillis | None  #: when it reached its final state


@dataclass(frozen=True, kw_only=True, slots=True)
class NewVersion:
    """A stored bundle, as a run hands it to `publish`."""

    family: str
    version: str  #: "v<date of data as-of>-<8 hex of the digest>"
    digest: str  #: sha256 over weights and meaning
    data_as_of: UtcMillis  #: newest data that it has seen, data time
    seed: int
    code_digest: str  #: of the code that trained it
    parent: str | None  #: version whose statistics or identity it continues
    metrics: Json
    lineage: Json  #: files and bar ranges it was trained on
    manifest: Json  #: the bundle's manifest.json
    origin: Origin  #: synthetic as soon as one of its streams is


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A published version; promoted, refused, or once promoted."""

    family: str
    version: str
    digest: str
    data_as_of: UtcMillis  #: data time
    seed: int
    code_digest: str
    parent: str | None
    metrics: Json
    lineage: Json
    manifest: Json
    origin: Origin
    run_id: int  #: run that first published it
    verdict: Verdict | None  #: the newest one on it
    created_at: UtcMillis


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """One move of a family's champion."""

    id: int  #: the highest of a family names its champion
    family: str
    version: str  #: champion from here on
    action: PromotionAction
    actor: str  #: run, key or "filesystem"
    reason: str
    forced: bool  #: without a passed verdict
    previous: str | None  #: champion before
    run_id: int | None  #: run whose publish it was
    created_at: UtcMillis


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumption:
    """What one consumer did with one file."""

    file_id: int
    state: str  #: a ClaimState
    run_id: int | None  #: run that holds it, consumed it, or was the last to fail on what is poison now
    attempts: int  #: how often a run that held it failed or died
    requeued_by: str | None  #: who last put it back by hand


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """A process that serves a family, as it said of itself."""

    id: str  #: instance id
    role: str
    family: str
    loaded: str | None  #: version it answers with
    error: str | None  #: why a newer one could not be loaded
    seen_at: UtcMillis


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A hint that must still be sent."""

    id: int
    topic: str  #: a message's task name, or "bus:<channel>"
    payload: Json
    created_at: UtcMillis


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """An API key, without its secret."""

    id: str
    secret_sha256: str  #: hex
    scopes: frozenset[Scope]
    note: str  #: whose it is, for people to read
    created_at: UtcMillis
    revoked_at: UtcMillis | None
