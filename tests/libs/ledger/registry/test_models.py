"""Registered models: what is stored, what counts, what a run publishes; on both dialects."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from tests.libs.ledger.registry.registering import BTC, champion, new_model, register, training, version
from tests.libs.ledger.rows import PASSED, REFUSED, seal
from tests.libs.ledger.test_runs import at_once
from tidewheel.contracts.errors import BadInput, Conflict, FenceLost, NotFound
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import ClaimState, ModelFormat, Origin, RunState
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.tables import ml_models

JOBLIB: dict[str, Any] = {
    "format": ModelFormat.JOBLIB, "trusted": False, "outputs": None, "file_path": "rf.joblib",
    "feature_config": None, "metrics": None,
}  # fmt: skip


class TestRegister:
    def test_what_is_stored(self, ledger: Ledger) -> None:
        """Every field comes back as it was given, whichever way the model is asked for."""
        before = ledger.now()
        new = new_model(1, stream=BTC, data_as_of=7, origin=Origin.REPLAY, reference={"lag_1h": [0.5, 1.0]})
        model, created = ledger.registry.register(new, "desk")
        assert created
        for field in new.__slots__:
            assert getattr(model, field) == getattr(new, field), field
        assert (model.is_active, model.run_id, model.verdict, model.registered_by) == (True, None, None, "desk")
        assert before <= model.created_at == model.updated_at <= ledger.now()
        assert ledger.registry.versions("forest") == ledger.registry.all() == [model]
        assert ledger.registry.get("forest") == ledger.registry.get("forest", model.version) == model

    def test_what_may_be_left_out(self, ledger: Ledger) -> None:
        """A file that nobody has opened has no outputs, no stream, no metrics."""
        model, _ = ledger.registry.register(new_model(1, **JOBLIB), "desk")
        assert (model.outputs, model.stream, model.data_as_of, model.origin, model.reference) == (None,) * 5
        assert (model.feature_config, model.metrics, model.trusted) == (None, {}, False)

    def test_a_file_whose_conversion_is_known(self, ledger: Ledger) -> None:
        """Content that was trusted before may be registered with what it was converted to."""
        new = new_model(1, **JOBLIB | {"trusted": True, "converted_path": "rf.skops", "converted_digest": "d16e57"})
        model, _ = ledger.registry.register(new, "desk")
        assert (model.trusted, model.converted_path, model.converted_digest) == (True, "rf.skops", "d16e57")

    def test_the_same_again_is_the_same(self, ledger: Ledger) -> None:
        """A digest is registered once a name, on whichever day and by whomever; under another name it is another."""
        first = register(ledger)
        later = replace(new_model(1), version="v2027-07-07-00000001")
        assert ledger.registry.register(later, "somebody else") == (first, False)
        other, created = ledger.registry.register(new_model(1, "linear"), "desk")
        assert (created, other.version) == (True, first.version)
        assert len(ledger.registry.all()) == 2

    def test_a_file_that_was_moved(self, ledger: Ledger) -> None:
        """The same content at another place is the same version, which is served from there from now on."""
        first, other, namesake = register(ledger), register(ledger, 2), register(ledger, 1, "linear")
        with ledger._db.write() as connection:
            connection.execute(update(ml_models).where(ml_models.c.id == first.id).values(updated_at=5))
        model, created = ledger.registry.register(new_model(1, file_path="elsewhere.skops"), "desk")
        assert not created
        assert model == replace(first, file_path="elsewhere.skops", updated_at=model.updated_at)
        assert model.updated_at == pytest.approx(ledger.now(), abs=60_000)
        assert ledger.registry.all() == [other, model, namesake]

    def test_a_version_that_is_taken(self, ledger: Ledger) -> None:
        """Two digests that begin alike cannot share a version on one day; the first keeps it."""
        first = register(ledger)
        with pytest.raises(Conflict, match="stands for another digest than f00") as caught:
            ledger.registry.register(replace(new_model(1), digest=f"f{1:063x}"), "desk")
        assert caught.value.code == "version_taken"
        assert ledger.registry.all() == [first]

    def test_what_cannot_be_registered(self) -> None:
        """A name of another family, a version that looks like none, no horizon or none of hours."""
        refused: tuple[tuple[dict[str, Any], str], ...] = (
            ({"name": "hmm"}, "kept for models of another kind"),
            ({"version": "1.0"}, "not of the form v2026"),
            ({"prediction_horizons": ()}, "not one or more whole hours"),
            ({"prediction_horizons": (1, 0)}, "not one or more whole hours"),
        )
        for changes, says in refused:
            with pytest.raises(BadInput, match=says):
                new_model(**changes)

    def test_two_at_once(self, ledger: Ledger) -> None:
        """Of several who register one file one makes the row; of several files one becomes champion."""
        answers = at_once(4, lambda n: ledger.registry.register(new_model(n % 2), f"desk {n}"))
        assert sorted(created for _, created in answers) == [False, False, True, True]
        assert len({model.id for model, _ in answers}) == 2
        assert len(ledger.registry.moves("forest")) == 1

    def test_in_order(self, ledger: Ledger) -> None:
        """By name, the newest registration first; each name's alone where it is asked for."""
        made = [register(ledger, number, name) for number, name in ((2, "linear"), (1, "forest"), (3, "forest"))]
        with ledger._db.write() as connection:  # on Postgres what was changed last lies last
            connection.execute(update(ml_models).where(ml_models.c.id == made[0].id).values(model_type="x"))
            connection.execute(update(ml_models).where(ml_models.c.id == made[1].id).values(model_type="x"))
        assert [each.id for each in ledger.registry.all()] == [made[2].id, made[1].id, made[0].id]
        assert [each.id for each in ledger.registry.versions("forest")] == [made[2].id, made[1].id]
        assert ledger.registry.versions("nobody") == []
        assert ledger.registry.get("nobody") is ledger.registry.get("nobody", version(1)) is None
        assert ledger.registry.get("forest", version(2)) is None


class TestActive:
    def test_off_and_on(self, ledger: Ledger) -> None:
        """It stays what the alias names, and says that it is inactive; others are left as they are."""
        for number, name in ((1, "forest"), (2, "forest"), (1, "linear")):
            register(ledger, number, name)
        off = ledger.registry.set_active("forest", version(1), False, "desk", "it drifts")
        assert not off.is_active
        assert ledger.registry.get("forest") == off
        assert [each.is_active for each in ledger.registry.all()] == [True, False, True]
        assert ledger.registry.set_active("forest", version(1), False, "another") == off
        assert ledger.registry.set_active("forest", version(1), True, "desk").is_active
        told = [(each.actor, each.action, each.subject, each.reason) for each in ledger.audit.list()]
        assert told == [
            ("desk", "model.activate", f"forest {version(1)}", ""),
            ("desk", "model.deactivate", f"forest {version(1)}", "it drifts"),
        ]

    def test_a_change_has_its_time(self, ledger: Ledger) -> None:
        """`updated_at` tells when; `created_at` stays."""
        first = register(ledger)
        with ledger._db.write() as connection:
            connection.execute(update(ml_models).values(created_at=5, updated_at=5))
        off = ledger.registry.set_active("forest", first.version, False, "desk")
        assert off.created_at == 5
        assert off.updated_at == pytest.approx(ledger.now(), abs=60_000)

    def test_unknown(self, ledger: Ledger) -> None:
        """A version that is none is told."""
        register(ledger)
        for name, wanted in (("forest", version(2)), ("linear", version(1))):
            with pytest.raises(NotFound, match="has no version") as caught:
                ledger.registry.set_active(name, wanted, False, "desk")
            assert caught.value.code == "unknown_version"


class TestTrust:
    def test_every_version_of_the_file(self, ledger: Ledger) -> None:
        """What was converted is loaded for each meaning of that file, and for no other file."""
        content: dict[str, Any] = {"content_digest": "c0ffee", **JOBLIB}
        ledger.registry.register(new_model(1, **content), "desk")
        ledger.registry.register(new_model(2, "linear", **content), "desk")
        other, _ = ledger.registry.register(new_model(3, **JOBLIB), "desk")
        with ledger._db.write() as connection:
            connection.execute(update(ml_models).where(ml_models.c.id == 1).values(updated_at=5))
        trusted = ledger.registry.trust("c0ffee", "rf.skops", "d16e57", 2, "risk")
        assert trusted == ledger.registry.of_content("c0ffee")
        assert [(each.model_name, each.version) for each in trusted] == [
            ("forest", version(1)), ("linear", version(2)),
        ]  # fmt: skip
        for each in trusted:
            assert (each.trusted, each.converted_path, each.converted_digest, each.outputs) == (
                True, "rf.skops", "d16e57", 2,
            )  # fmt: skip
            assert each.file_path == "rf.joblib"
            assert each.updated_at == pytest.approx(ledger.now(), abs=60_000)
        assert ledger.registry.get("forest", version(3)) == other
        (entry,) = ledger.audit.list()
        assert (entry.actor, entry.action, entry.subject) == ("risk", "model.trust", "c0ffee")
        assert entry.detail == {"converted_path": "rf.skops", "converted_digest": "d16e57"}

    def test_again(self, ledger: Ledger) -> None:
        """A file that is converted anew is served as it is now."""
        ledger.registry.register(new_model(1, **JOBLIB), "desk")
        digest = new_model(1).content_digest
        ledger.registry.trust(digest, "rf.skops", "one", 1, "risk")
        assert [each.converted_digest for each in ledger.registry.trust(digest, "rf.skops", "two", 1, "risk")] == [
            "two"
        ]

    def test_nothing_to_trust(self, ledger: Ledger) -> None:
        """An unknown file, and one that needs no trust, are told; nothing is written down."""
        model = register(ledger)
        for digest in ("beef", model.content_digest):
            with pytest.raises(NotFound, match=f"no .joblib file with sha256 {digest}") as caught:
                ledger.registry.trust(digest, "x.skops", "x", 1, "risk")
            assert caught.value.code == "unknown_digest"
        assert ledger.registry.all() == [model]
        assert ledger.audit.list() == []

    def test_of_content_in_order(self, ledger: Ledger) -> None:
        """As all of them: by name, the newest registration first, whatever was changed since."""
        for number in (1, 2):
            ledger.registry.register(new_model(number, content_digest="c0ffee"), "desk")
        ledger.registry.set_active("forest", version(1), False, "desk")
        assert [each.version for each in ledger.registry.of_content("c0ffee")] == [version(2), version(1)]


class TestPublish:
    def test_a_passed_one(self, ledger: Ledger) -> None:
        """Row, verdict, champion, hint, consumption and the end of the run come together."""
        ledger.streams.register(StreamKey("binance", "BTC/USDT", "1m"), Origin.REPLAY)
        seal(ledger, range(1))
        lease = training(ledger)
        lease.claim_files()
        ledger.outbox.sent([event.id for event in ledger.outbox.pending()])
        run = lease.publish_model(new_model(1), PASSED, champion=True, remark="24h left out")
        assert (run.state, run.version, run.reason, run.verdict) == (
            RunState.PROMOTED, version(1), "24h left out", PASSED,
        )  # fmt: skip
        assert run.finished_at is not None
        assert run == ledger.runs.get(run.id) == ledger.runs.list()[0]
        model = ledger.registry.get("forest")
        assert model is not None
        assert (model.run_id, model.registered_by, model.verdict) == (run.id, f"run {run.id}", PASSED)
        (move,) = ledger.registry.moves("forest")
        assert (move.version, move.run_id, move.actor) == (version(1), run.id, f"run {run.id}")
        (event,) = ledger.outbox.pending()
        assert (event.topic, event.payload["version"]) == ("bus:registry.forest", version(1))
        assert ledger.claims.states("registry:forest")[ClaimState.PROCESSED] == 1
        assert ledger.leases.get(f"run:{run.id}") is None

    def test_a_refused_one(self, ledger: Ledger) -> None:
        """It is registered with its verdict, and the champion stays."""
        register(ledger)
        run = training(ledger).publish_model(new_model(2), REFUSED, champion=True)
        assert (run.state, run.reason) == (RunState.REFUSED, "champion: worse by 0.1 nats a bar")
        assert champion(ledger) == version(1)
        found = ledger.registry.get("forest", version(2))
        assert found is not None and found.verdict == REFUSED
        assert (found.registered_by, found.run_id) == (f"run {run.id}", run.id)

    def test_one_that_should_not_be_champion(self, ledger: Ledger) -> None:
        """Whatever the verdict, the alias stays, and the run says why; a refusal needs no further one."""
        lease = training(ledger)
        run = lease.publish_model(new_model(1), PASSED, champion=False)
        assert (run.state, run.reason) == (
            RunState.REFUSED, "wanted: the run was asked to leave the champion as it is",
        )  # fmt: skip
        assert lease.publish_model(new_model(1), PASSED, champion=False) == run
        assert champion(ledger) is None
        assert training(ledger).publish_model(new_model(2), REFUSED, champion=False).verdict == REFUSED

    def test_a_lost_answer(self, ledger: Ledger) -> None:
        """Asked again, the run that it finished is returned; another word on it has lost its fence."""
        lease = training(ledger)
        run = lease.publish_model(new_model(1), PASSED, champion=True)
        assert lease.publish_model(new_model(1), PASSED, champion=True) == run
        for number, verdict in ((2, PASSED), (1, REFUSED)):
            with pytest.raises(FenceLost):
                lease.publish_model(new_model(number), verdict, champion=True)
        assert len(ledger.registry.all()) == len(ledger.registry.moves("forest")) == 1

    def test_a_kill_switch(self, ledger: Ledger) -> None:
        """Nothing is promoted while one stands, and asked again after it was cleared, the run has not changed."""
        ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        lease = training(ledger)
        run = lease.publish_model(new_model(1), PASSED, champion=True)
        assert (run.state, champion(ledger)) == (RunState.REFUSED, None)
        assert run.verdict is not None and run.verdict.steps[-1].step == "kill_switch"
        ledger.switches.clear(None, "admin", "mended")
        assert lease.publish_model(new_model(1), PASSED, champion=True) == run

    def test_a_champion_that_came_meanwhile(self, ledger: Ledger) -> None:
        """Nobody compared with it, so it stays, whoever made it one; a champion that stood all along gives way."""
        register(ledger)
        (first,) = ledger.registry.moves("forest")
        for since, number in ((0, 2), (first.id, 3)):
            lease = training(ledger)
            if since:
                ledger.registry.move_alias("forest", "champion", version(2), "desk", "I trust it more")
            run = lease.publish_model(new_model(number), PASSED, since=since)
            assert (run.state, champion(ledger)) == (RunState.REFUSED, version(2 if since else 1))
            assert run.verdict is not None and run.verdict.steps[-1].step == "champion_moved"
            assert run.reason == (
                f"champion_moved: desk made {champion(ledger)} the champion meanwhile, with which nothing was compared"
            )
            assert lease.publish_model(new_model(number), PASSED, since=since) == run
        stood = ledger.registry.moves("forest")[-1].id
        assert training(ledger).publish_model(new_model(4), PASSED, since=stood).state is RunState.PROMOTED

    def test_the_same_bytes_again(self, ledger: Ledger) -> None:
        """A later run that makes them is the same version; the newest verdict is told, the champion stays."""
        first = training(ledger).publish_model(new_model(1), PASSED, champion=True)
        training(ledger).publish_model(new_model(2, "forest"), REFUSED, champion=True)
        again = training(ledger).publish_model(new_model(1), REFUSED, champion=True)
        model = ledger.registry.get("forest")
        assert model is not None
        assert (model.version, model.run_id, model.verdict) == (version(1), first.id, REFUSED)
        assert [each.verdict for each in ledger.registry.versions("forest")] == [REFUSED, REFUSED]
        assert (again.verdict, ledger.runs.get(first.id).verdict) == (REFUSED, PASSED)
        once_more = training(ledger).publish_model(new_model(1), PASSED, champion=True)
        assert once_more.state is RunState.PROMOTED
        assert len(ledger.registry.moves("forest")) == 1
        asked = (
            ledger.registry.all(), ledger.registry.versions("forest"),
            ledger.registry.of_content(new_model(1).content_digest),
        )  # fmt: skip
        assert [found[-1].verdict for found in asked] == [PASSED] * 3

    def test_each_version_has_its_own_verdict(self, ledger: Ledger) -> None:
        """Neither another version's nor that on the same one of another name is told of it."""
        for name, number, verdict in (
            ("forest", 1, PASSED), ("forest", 2, REFUSED), ("linear", 1, REFUSED), ("linear", 2, PASSED),
        ):  # fmt: skip
            training(ledger, name).publish_model(new_model(number, name), verdict, champion=True)
        told = {(each.model_name, each.version): each.verdict for each in ledger.registry.all()}
        assert told == {
            ("forest", version(1)): PASSED, ("forest", version(2)): REFUSED,
            ("linear", version(1)): REFUSED, ("linear", version(2)): PASSED,
        }  # fmt: skip

    def test_what_a_run_cannot_publish(self, ledger: Ledger) -> None:
        """Another name's model, a version or bytes that are taken: nothing is written, and the run goes on."""
        register(ledger)
        lease = training(ledger)
        with pytest.raises(BadInput, match="makes forest versions, not linear ones"):
            lease.publish_model(new_model(1, "linear"), PASSED, champion=True)
        for new in (
            replace(new_model(1), digest="f" * 64),
            replace(new_model(1), version="v2027-07-07-00000001"),
        ):
            with pytest.raises(Conflict) as caught:
                lease.publish_model(new, PASSED, champion=True)
            assert caught.value.code == "version_taken"
        assert len(ledger.registry.all()) == 1
        assert lease.publish_model(new_model(2), PASSED, champion=True).state is RunState.PROMOTED

    def test_synthetic_beside_real(self, ledger: Ledger) -> None:
        """A champion of synthetic bars is refused where an exchange's are, in publish and by hand alike."""
        ledger.streams.register(BTC, Origin.EXCHANGE)
        lease = training(ledger)
        with pytest.raises(Conflict) as caught:
            lease.publish_model(new_model(1, origin=Origin.SYNTHETIC), PASSED, champion=True)
        assert caught.value.code == "synthetic_origin"
        assert ledger.registry.all() == []
        lease.publish_model(new_model(1, origin=Origin.SYNTHETIC), REFUSED, champion=True)
        with pytest.raises(Conflict):
            ledger.registry.move_alias("forest", "champion", version(1), "desk", "x")
        assert ledger.registry.move_alias("forest", "staging", version(1), "desk", "x").version == version(1)
