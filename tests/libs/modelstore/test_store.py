import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.libs.modelstore.bundles import mark_of, meta, payload, published
from tidewheel.contracts.errors import BadBundle, BadInput, NotFound
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.modelstore import removal
from tidewheel.modelstore.files import shared
from tidewheel.modelstore.store import ModelStore

READER = """
import sys, pathlib
from tests.libs.modelstore.bundles import mark_of
from tidewheel.modelstore.store import ModelStore
store, done, seen = ModelStore(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]), []
while not done.exists():
    bundle = store.open("hmm")
    seen.append((bundle.manifest.version, mark_of(bundle.files)))
print(len(seen), len(set(seen)))
"""

WRITER = """
import sys, pathlib
from tests.libs.modelstore.bundles import published
from tidewheel.modelstore.store import ModelStore
store, done = ModelStore(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
try:
    versions = {}
    for flip in range(150):
        mark = flip % 8
        if versions.get(mark) not in store.versions("hmm"):
            versions[mark] = published(store, mark, size=4096)
        store.point("hmm", versions[mark])
        if flip % 5 == 0:
            store.prune("hmm", [versions[(flip - 1) % 8]] if flip else [])
finally:
    done.touch()
print("150 flips")
"""

UNPRIVILEGED = """
import os, pathlib, sys
from tests.libs.modelstore.bundles import meta, payload, mark_of
from tidewheel.contracts.errors import BadSetting
from tidewheel.modelstore.store import ModelStore
from tidewheel.modelstore.bundle import describe
describe("hmm", payload(2), meta())  # imports what it needs while this user can still read the interpreter's files
if os.geteuid() == 0:
    os.setuid(65534)
store = ModelStore(pathlib.Path(sys.argv[1]))
version = store.current("hmm")
attempts = [store.check_writable, lambda: store.stage("hmm", payload(2), meta()), lambda: store.point("hmm", version),
            lambda: store.prune("hmm", store.versions("hmm")[:1])]
for attempt in attempts:
    try:
        attempt()
    except BadSetting as error:
        print(error)
print("read", mark_of(store.open("hmm").files))
"""


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def leftovers(store: ModelStore) -> list[Path]:
    """Hidden files and directories in which something half-written could lie."""
    return [path for path in store.models_dir.rglob(".*") if not (path.name == ".staged" and not any(path.iterdir()))]


def test_publish_returns_the_existing_bundle_of_the_same_digest(store: ModelStore) -> None:
    """Publishing the same weights twice leaves one directory, untouched, and no temporary file."""
    first = store.stage("hmm", payload(1), meta())
    path = store.publish(first)
    created = (path / "manifest.json").read_bytes()
    second = store.stage("hmm", payload(1), meta(claimed_files=99))

    assert store.publish(second) == path
    assert (path / "manifest.json").read_bytes() == created
    assert store.versions("hmm") == [path.name]
    assert leftovers(store) == []


def test_a_damaged_existing_bundle_is_never_returned(store: ModelStore) -> None:
    """Publishing beside a damaged twin fails aloud and leaves no temporary file."""
    path = store.models_dir / "hmm" / published(store, 1)
    (path / "model.json").chmod(0o644)
    (path / "model.json").write_text("{}")
    staged = store.stage("hmm", payload(1), meta())

    with pytest.raises(BadBundle, match="digest"):
        store.publish(staged)
    store.discard(staged)

    assert leftovers(store) == []


def test_discard_leaves_nothing(store: ModelStore) -> None:
    """A refused candidate that nobody wants to keep disappears; discarding twice is harmless."""
    staged = store.stage("hmm", payload(1), meta())
    store.discard(staged)
    store.discard(staged)

    assert leftovers(store) == []
    assert store.versions("hmm") == []


def test_removal_spares_the_staged_bundle_of_a_living_process(store: ModelStore) -> None:
    """An old staged bundle goes when nobody holds it; one whose stager lives stays, and so do files of others."""
    held, dead = store.stage("hmm", payload(1), meta()), store.stage("hmm", payload(2), meta())
    dead.lock.release()  # as the kernel does when the stager dies
    link = store.models_dir / "hmm" / ".current-0123456789ab"
    link.symlink_to("nowhere")
    foreign = [store.models_dir / name for name in (".git", ".ssh", "hmm/.gitkeep", "hmm/.nfs0123456789ab")]
    for path in foreign:
        path.touch()
    hour_ago = time.time() - 3_600
    for path in (held.dir, dead.dir, link, *foreign):
        os.utime(path, (hour_ago, hour_ago), follow_symlinks=False)

    gone = [path for path in removal.leftovers(store.models_dir) if removal.remove(store.models_dir, path)]

    assert sorted(gone) == sorted([dead.dir, link])
    assert held.dir.exists() and not dead.dir.exists() and not link.is_symlink()
    store.publish(held)


def test_point_moves_current_the_root_link_and_the_registry(store: ModelStore) -> None:
    """`current` is a relative link, the root's follows the hmm family, the registry says who and why."""
    version = published(store, 1)
    verdict = Verdict(steps=(StepResult(step="champion", passed=True, reason="better by 0.1", numbers={"diff": 0.1}),))

    store.point("hmm", version, actor="olga", at=1_700_000_000_000, reason="gate", verdict=verdict)

    assert (store.models_dir / "hmm" / "current").readlink() == Path(version)
    assert (store.models_dir / "current").readlink() == Path("hmm/current")
    assert json.loads((store.models_dir / "current" / "metadata.json").read_text())["version"] == version
    record = store.links.registry("hmm")
    assert record is not None
    assert (record["version"], record["actor"], record["promoted_at"]) == (version, "olga", "2023-11-14T22:13:20Z")
    assert record["verdict"]["steps"][0]["numbers"] == {"diff": 0.1}


def test_another_family_leaves_the_root_link_alone(store: ModelStore) -> None:
    """<models>/current belongs to hmm."""
    store.point("hmm-strict", published(store, 1, family="hmm-strict"))

    assert not (store.models_dir / "current").is_symlink()
    assert store.current("hmm") is None
    assert store.links.registry("hmm") is None


def test_point_refuses_what_is_not_intact(store: ModelStore) -> None:
    """`current` never moves to a damaged or missing version."""
    good, bad = published(store, 1), published(store, 2)
    store.point("hmm", good)
    damaged = store.models_dir / "hmm" / bad / "model.json"
    damaged.chmod(0o644)
    damaged.write_text("{}")

    with pytest.raises(BadBundle):
        store.point("hmm", bad)
    with pytest.raises(NotFound):
        store.point("hmm", "v2020-01-01-00000000")
    with pytest.raises(BadInput, match="looks like"):
        store.point("hmm", "../../etc")

    assert store.current("hmm") == good


def test_hand_made_links(store: ModelStore) -> None:
    """An operator's absolute link to a version counts; one that leads elsewhere, or no link at all, is refused."""
    version, other = published(store, 1), published(store, 2)
    link = store.models_dir / "hmm" / "current"
    link.symlink_to((store.models_dir / "hmm" / version).absolute())
    assert store.current("hmm") == version
    assert mark_of(store.open("hmm").files) == 1

    link.unlink()
    link.symlink_to("../elsewhere")
    with pytest.raises(BadBundle, match="not a version"):
        store.open("hmm")

    link.unlink()
    link.mkdir()
    with pytest.raises(BadBundle, match="not a symbolic link"):
        store.current("hmm")

    link.rmdir()
    store.point("hmm", version)
    assert store.links.root_repointed() is None
    (store.models_dir / "current").unlink()
    (store.models_dir / "current").symlink_to(f"hmm/{other}")
    assert store.links.root_repointed() == other


def test_prune_spares_current_pinned_and_read_versions(store: ModelStore) -> None:
    """Only named versions go, and of them none that is current, pinned or being read."""
    current, pinned, read, doomed, unnamed = (published(store, mark) for mark in range(5))
    store.point("hmm", current)

    with shared(store.models_dir / "hmm" / read):
        gone = store.prune(
            "hmm", [current, pinned, read, doomed, "v2020-01-01-00000000"], needed=lambda version: version == pinned
        )

    assert gone == [doomed]
    assert set(store.versions("hmm")) == {current, pinned, read, unnamed}
    assert store.prune("hmm", [read]) == [read]
    assert leftovers(store) == []


def test_swaps_under_readers_tear_nothing(store: ModelStore, tmp_path: Path) -> None:
    """150 flips and 30 prunes by one process, under three reading threads and another process: every read is whole."""
    store.point("hmm", published(store, 0, size=4096))
    done = tmp_path / "done"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    reader, writer = (
        subprocess.Popen(
            [sys.executable, "-c", script, str(store.models_dir), str(done)],
            env=env, stdout=subprocess.PIPE, text=True,
        )
        for script in (READER, WRITER)
    )  # fmt: skip
    seen: Counter[tuple[str, int]] = Counter()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not done.exists():
                bundle = store.open("hmm")
                seen[bundle.manifest.version, mark_of(bundle.files)] += 1
                time.sleep(0.001)
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert writer.communicate(timeout=120)[0] == "150 flips\n"
    for thread in threads:
        thread.join()
    loads, kinds = reader.communicate(timeout=30)[0].split()

    assert failures == []
    assert reader.returncode == 0
    assert int(loads) > 20 and int(kinds) > 5
    assert 6 <= len(seen) == len({version for version, _ in seen}), "a version was read with another's mark"
    assert leftovers(store) == []


def test_read_only_directory_is_a_sentence() -> None:
    """A user who may read but not write the models directory reads models; each change names directory and remedy."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        store = ModelStore(home / "models")
        published(store, 1)
        store.point("hmm", published(store, 2))
        folders = [home, *(path for path in home.rglob("*") if path.is_dir() and not path.is_symlink())]
        for folder in folders:
            folder.chmod(0o555)
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        child = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(store.models_dir)],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        for folder in folders:
            folder.chmod(0o755)

    *sentences, last = child.stdout.splitlines() or [child.stderr]
    assert last == "read 2", child.stderr
    assert len(sentences) == 4
    for sentence in sentences:
        assert str(store.models_dir) in sentence
        assert "cannot be written by uid" in sentence and "MODELS_DIR" in sentence


def test_a_file_where_a_directory_belongs_is_a_sentence(tmp_path: Path) -> None:
    """MODELS_DIR naming a file stops with its path."""
    wrong = tmp_path / "models"
    wrong.write_text("")

    with pytest.raises(BadInput, match="models"):
        ModelStore(wrong).check_writable()


def test_no_current_version_says_what_to_do(store: ModelStore) -> None:
    """Before the first promotion, opening names the remedy."""
    with pytest.raises(NotFound, match="POST /train"):
        store.open("hmm")


def test_a_damaged_version_is_put_aside_and_makes_room(tmp_path: Path) -> None:
    """Nothing of it is lost, the same bytes can be published again, and an intact one never moves."""
    store = ModelStore(tmp_path)
    version = published(store, 7)
    path = store.path("hmm", version)
    assert store.quarantine("hmm", version) is None
    damaged = path / "model.json"
    damaged.chmod(0o644)
    damaged.write_bytes(b'{"mark": 8}')
    with pytest.raises(BadBundle):
        published(store, 7)
    aside = store.quarantine("hmm", version)
    assert aside is not None
    assert (aside / "model.json").read_bytes() == b'{"mark": 8}'
    assert store.quarantine("hmm", version) is None
    assert store.versions("hmm") == []
    assert published(store, 7) == version
    assert store.quarantine("hmm", version) is None
    with shared(path):
        path.with_name("v2026-01-01-00000000").write_text("a file where a version should be")
        assert store.quarantine("hmm", "v2026-01-01-00000000") is not None


def test_one_file_is_read_without_the_others(tmp_path: Path) -> None:
    """It is verified, and damage elsewhere does not keep anybody from it."""
    store = ModelStore(tmp_path)
    version = published(store, 7)
    weights = store.path("hmm", version) / "weights.npz"
    weights.chmod(0o644)
    weights.write_bytes(b"damaged")
    manifest, content = store.read_file("hmm", version, "model.json")
    assert (manifest.version, json.loads(content)) == (version, {"mark": 7})
    for name, told in (("weights.npz", "does not have the digest"), ("other.json", "has no other.json")):
        with pytest.raises(BadBundle, match=told):
            store.read_file("hmm", version, name)
