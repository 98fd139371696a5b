"""The ledger's champion as a symlink: `current` follows the promotions."""

from tidewheel.contracts.errors import BadBundle, Conflict, NotFound, TidewheelError
from tidewheel.contracts.times import iso
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Promotion
from tidewheel.modelstore.links import ROOT_FAMILY
from tidewheel.modelstore.store import ModelStore

_log = logger(__name__)


class Projection:
    """Points `current` at the ledger's champion. One process at a time does so for a family, under a file lock.

    The registry file is written after the symlink. So when it names the last promotion and `current` names another
    version, a person has moved the link since; in every other difference the link merely lags behind.
    """

    def __init__(self, ledger: Ledger, store: ModelStore) -> None:
        self._ledger, self._store = ledger, store

    def follow(self, family: str) -> str | None:
        """Point `current` at the champion, whatever it points at now; the version, None where nothing is promoted.

        Raises:
            NotFound, BadBundle: the champion's bundle is missing or damaged; `current` stays.
        """
        with self._store.alone(family):
            promotion = self._ledger.versions.last_promotion(family)
            if promotion is not None and not self._settled(family, promotion):
                self._point(family, promotion)
        return promotion.version if promotion else None

    def follow_or_log(self, family: str) -> None:
        """`follow`, for whoever has committed already: what keeps the link from moving is logged.

        The keeper's duty repeats it, and neither a published run nor the hints of others may wait for a person.
        """
        try:
            self.follow(family)
        except (TidewheelError, OSError) as refused:
            _log.error("current_not_moved", family=family, error=type(refused).__name__, detail=str(refused))

    def reconcile(self, family: str) -> str | None:
        """`follow`, but a link that a person moved to an intact version that may serve is taken for a rollback."""
        with self._store.alone(family):
            promotion = self._ledger.versions.last_promotion(family)
            if promotion is None or self._settled(family, promotion):
                return promotion.version if promotion else None
            adopted = self._adopted(family, promotion)
            if adopted is None:
                _log.warning("current_put_back", family=family, version=promotion.version)
            self._point(family, adopted or promotion)
            return (adopted or promotion).version

    def _adopted(self, family: str, promotion: Promotion) -> Promotion | None:
        """The move that a person made by hand, where the ledger takes it for one."""
        chosen = self._chosen_by_hand(family, promotion)
        if chosen is None:
            return None
        try:
            adopted = self._ledger.versions.adopt(family, chosen, actor="filesystem")
        except Conflict as refused:  # a kill switch stands, or synthetic candles would serve
            _log.error("hand_set_current_refused", family=family, detail=refused.detail)
            return None
        _log.warning("current_adopted", family=family, version=chosen, before=promotion.version)
        return adopted

    def _point(self, family: str, promotion: Promotion) -> None:
        version = self._ledger.versions.get(family, promotion.version)
        for path, aside in self._store.links.put_aside(family):
            _log.error("put_aside", family=family, path=str(path), now_at=str(aside))
        self._store.point(
            family,
            promotion.version,
            actor=promotion.actor,
            at=promotion.created_at,
            reason=promotion.reason,
            verdict=version.verdict if version else None,
        )

    def _settled(self, family: str, promotion: Promotion) -> bool:
        try:
            current, root = self._store.current(family), self._root(family)
        except BadBundle as odd:
            _log.error("current_is_odd", family=family, detail=odd.detail)
            return False
        linked = root is None and (family != ROOT_FAMILY or self._store.links.rooted())
        return current == promotion.version and linked and self._recorded(family, promotion)

    def _recorded(self, family: str, promotion: Promotion) -> bool:
        try:
            record = self._store.links.registry(family) or {}
        except BadBundle as damaged:
            _log.error("registry_damaged", family=family, detail=damaged.detail)
            return False
        return (record.get("version"), record.get("promoted_at")) == (promotion.version, iso(promotion.created_at))

    def _chosen_by_hand(self, family: str, promotion: Promotion) -> str | None:
        """The version that a person pointed `current` at, if it may serve."""
        if not self._recorded(family, promotion):
            return None
        try:
            chosen = self._root(family) or self._store.current(family)
            if chosen in (None, promotion.version):
                return None
            self._store.open(family, chosen)
        except (BadBundle, NotFound) as refused:
            _log.error("hand_set_current_refused", family=family, detail=refused.detail)
            return None
        version = self._ledger.versions.get(family, chosen)
        served_before = any(one.version == chosen for one in self._ledger.versions.promotions(family))
        if version is None or not (served_before or (version.verdict and version.verdict.passed)):
            _log.error("hand_set_current_refused", family=family, detail=f"version {chosen} was never passed")
            return None
        return chosen

    def _root(self, family: str) -> str | None:
        return self._store.links.root_repointed() if family == ROOT_FAMILY else None
