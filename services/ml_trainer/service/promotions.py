"""What the API may ask of the champion: which version it is, and to move it by hand."""

from services.ml_trainer.schemas import ChampionView, ModelView, PromotionView, ReplicaView
from services.ml_trainer.service.projection import Projection
from tidewheel.contracts.errors import BadInput, NotAuthorised, NotFound, TidewheelError, Unavailable
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Promotion
from tidewheel.modelstore.store import ModelStore


class Promotions:
    """The version that a family serves, and moving it by hand."""

    def __init__(self, ledger: Ledger, store: ModelStore, family: str) -> None:
        self._ledger, self._family = ledger, family
        self._projection = Projection(ledger, store)
        self._store = store

    def model(self) -> ModelView:
        """What should be served, where it comes from, and who serves what."""
        promotion = self._ledger.versions.last_promotion(self._family)
        version = None if promotion is None else self._ledger.versions.get(self._family, promotion.version)
        replicas = [ReplicaView.model_validate(replica) for replica in self._ledger.replicas.live(self._family)]
        if promotion is None or version is None:
            return ModelView(
                family=self._family, desired=None, champion=None, metrics={}, lineage={}, replicas=replicas
            )
        champion = ChampionView(
            version=version.version,
            digest=version.digest,
            data_as_of=version.data_as_of,
            seed=version.seed,
            code_digest=version.code_digest,
            parent=version.parent,
            origin=version.origin,
            promoted_at=promotion.created_at,
            promoted_by=promotion.actor,
            action=promotion.action,
            reason=promotion.reason,
            forced=promotion.forced,
        )
        return ModelView(
            family=self._family,
            desired=promotion.version,
            champion=champion,
            metrics=dict(version.metrics),
            lineage=dict(version.lineage),
            replicas=replicas,
        )

    def promote(self, version: str, *, actor: str, reason: str | None, force: bool, admin: bool) -> PromotionView:
        """Make `version` the champion. Against its verdict only by force, which takes an admin and a reason.

        Raises:
            NotFound, BadBundle: no such version, or its bundle is gone (a refused one is pruned in time) or damaged.
            Conflict: its verdict did not pass, or synthetic data would serve where the source is a real exchange.
            NotAuthorised, BadInput: force without the scope admin, or without a reason.
        """
        if force and not admin:
            raise NotAuthorised(f"force=true needs the scope admin, which {actor} lacks", scope="admin")
        if force and not (reason or "").strip():
            raise BadInput("force=true needs a reason; add &reason=... to say why the gate is overruled")
        if self._ledger.versions.get(self._family, version) is None:
            raise NotFound(f"version {version!r} of {self._family} does not exist; GET /runs names those that do")
        with self._store.held(self._family, version):
            moved = self._ledger.versions.promote(
                self._family, version, actor, reason or "promoted by hand", force=force
            )
        return self._followed(moved)

    def rollback(self, *, actor: str, reason: str | None, to: str | None) -> PromotionView:
        """Go back to the previous champion, or to the earlier one named `to`.

        Raises:
            NotFound, BadBundle: `to` is no version, or the bundle to go back to is gone or damaged.
            Conflict: there is no earlier champion.
        """
        earlier = self._ledger.versions.earlier_champions(self._family)
        target = to or next(iter(earlier), None)
        if target in earlier:
            self._store.open(self._family, target)
        # Named, so that the champion that was checked is the one gone back to, whoever moves it meanwhile.
        moved = self._ledger.versions.rollback(self._family, actor, reason or "rolled back by hand", to=target)
        return self._followed(moved)

    def _followed(self, promotion: Promotion) -> PromotionView:
        try:
            self._projection.follow(self._family)
        except (TidewheelError, OSError) as refused:
            raise Unavailable(
                f"{promotion.version} is the champion of {self._family} in the ledger, but `current` could not follow: "
                f"{refused}; mend that, the keeper tries again by itself"
            ) from refused
        return PromotionView.model_validate(promotion)
