"""The cache: proved at each load, bounded in memory, and never half of anything."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.libs.bounce.universe import CONFIG
from tests.libs.modelstore.bundles import meta
from tidewheel.bounce.entries import Cleared, ModelCache, config_hash, family_of
from tidewheel.bounce.files import Made
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadBundle, BadInput, NotFound
from tidewheel.contracts.times import DAY, HOUR
from tidewheel.modelstore.store import ModelStore

OTHER = CONFIG.with_tickers(["AMD", "TSLA"])
PAST = replace(CONFIG, as_of=1_600_000_000_000)


def of(made: Made, config: BounceHunterConfig) -> Made:
    """The same under another configuration: a cache does not ask what is in a model."""
    return replace(made, config=config, config_hash=config_hash(config, made.volatility_source))


def files_of(cache_dir: Path, made: Made) -> Path:
    """The folder of the entry's current version."""
    return (cache_dir / family_of(made.config_hash) / "current").resolve()


def overwrite(path: Path, content: bytes) -> None:
    """As somebody with rights to the folder could."""
    path.chmod(0o644)
    path.write_bytes(content)


def test_an_entry_comes_from_memory_once_it_was_read(made: Made, tmp_path: Path) -> None:
    """What another process saves meanwhile is what is told next."""
    first = ModelCache(tmp_path).save(made)
    cache = ModelCache(tmp_path)
    one, two = cache.get(made.config_hash), cache.get(made.config_hash)
    assert one is not None
    assert two is not None
    assert (one.source, two.source) == ("disk", "memory")
    assert one.metadata == two.metadata == first
    told = replace(made.gathered, left_out={"XYZ": "not_enough_data: told for this test"})
    second = ModelCache(tmp_path).save(replace(made, gathered=told))
    three = cache.get(made.config_hash)
    assert three is not None
    assert (three.source, three.metadata) == ("disk", second)
    assert three.metadata.left_out == told.left_out


def test_the_same_data_again_are_the_same_version_only_younger(made: Made, tmp_path: Path) -> None:
    """Nothing is written twice; the age tells when the data were last read."""
    first, second = ModelCache(tmp_path).save(made), ModelCache(tmp_path).save(made)
    assert first.bundle == second.bundle
    assert second.updated_at > first.updated_at
    assert second.created_at == first.created_at
    assert second.age_hours(second.updated_at + 3 * HOUR) == 3
    assert not second.stale(second.updated_at + 24 * HOUR, 24)
    assert second.stale(second.updated_at + 24 * HOUR + 1, 24)


@pytest.mark.parametrize("written", [None, "damaged", "3026-11-21T00:00:00Z", ""])
def test_an_age_that_cannot_be_is_that_of_the_version(made: Made, tmp_path: Path, written: str | None) -> None:
    """The record beside an entry is gone, or says a time that is none, or is to come: it stops nobody."""
    saved = ModelCache(tmp_path).save(replace(made, read_at=1_600_000_000_000))
    path = tmp_path / "registry" / f"{family_of(made.config_hash)}.json"
    record = json.loads(path.read_text())
    path.unlink()
    if written is not None:
        path.write_text(json.dumps({**record, "promoted_at": written}))
    told = ModelCache(tmp_path).get(made.config_hash)
    assert told is not None
    assert told.metadata.updated_at == saved.created_at > saved.updated_at
    assert [each.fault for each in ModelCache(tmp_path).entries()] == [None]
    assert ModelCache(tmp_path).clear().cleared == 1


def test_an_entry_is_told_of_its_own_configuration_alone(made: Made, tmp_path: Path) -> None:
    """Not of a hash that begins alike; and what lies in the folder of another is damaged, whoever asks."""
    cache = ModelCache(tmp_path)
    cache.save(made)
    assert cache.metadata(made.config_hash[:16] + "0" * 48) is None
    stray = of(made, OTHER).config_hash
    (tmp_path / family_of(made.config_hash)).rename(tmp_path / family_of(stray))
    with pytest.raises(BadBundle, match="is of configuration"):
        cache.metadata(stray)
    (listed,) = cache.entries()
    assert listed.metadata is None
    assert listed.fault is not None and made.config_hash in listed.fault
    assert cache.get(stray) is None


def test_what_is_no_entry_keeps_nobody_from_the_others(made: Made, tmp_path: Path) -> None:
    """A file, a link to elsewhere, an empty folder: told of by nobody, and never followed when the cache is cleared."""
    cache, elsewhere = ModelCache(tmp_path / "cache"), tmp_path / "elsewhere"
    kept = cache.save(made)
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("x")
    (tmp_path / "cache" / "bouncehunter_dead").write_text("x")
    (tmp_path / "cache" / "bouncehunter_feed").symlink_to(elsewhere)
    (tmp_path / "cache" / "bouncehunter_0000").mkdir()
    assert [each.metadata for each in cache.entries()] == [kept]
    assert cache.latest() == kept
    assert cache.clear().cleared == 1
    assert (elsewhere / "mine").read_text() == "x"


@pytest.mark.parametrize("name", ["model.json", "rows.npz", "volatility.npz", "meta.json", "manifest.json"])
def test_a_damaged_entry_is_put_aside_and_told(made: Made, tmp_path: Path, name: str) -> None:
    """One flipped bit anywhere; the next fit takes the free place, and nothing of the damaged one is lost."""
    bundle = ModelCache(tmp_path).save(made).bundle
    folder = files_of(tmp_path, made)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    overwrite(folder / name, bytes(content))
    told: list[tuple[Path, str]] = []
    cache = ModelCache(tmp_path, on_damage=lambda path, why: told.append((path, why)))
    assert cache.get(made.config_hash) is None
    assert cache.get(made.config_hash) is None
    ((aside, why),) = told
    assert (aside / name).read_bytes() == bytes(content)
    assert not folder.exists()
    assert name in why or "manifest" in why
    assert cache.save(made).bundle == bundle
    assert cache.get(made.config_hash) is not None


def test_saving_over_a_damaged_version_puts_it_aside(made: Made, tmp_path: Path) -> None:
    """A trainer that never looked at the entry makes it whole all the same."""
    bundle = ModelCache(tmp_path).save(made).bundle
    overwrite(files_of(tmp_path, made) / "model.json", b"{}")
    assert ModelCache(tmp_path).save(made).bundle == bundle
    assert ModelCache(tmp_path).get(made.config_hash) is not None


def test_an_entry_that_is_no_link_or_leads_nowhere_is_a_miss(made: Made, tmp_path: Path) -> None:
    """Somebody's hand in the folder stops nobody."""
    told: list[Path] = []
    cache = ModelCache(tmp_path, on_damage=lambda path, _: told.append(path))
    bundle = cache.save(made).bundle
    link = tmp_path / family_of(made.config_hash) / "current"
    link.unlink()
    link.symlink_to("v2020-01-01-00000000")
    assert cache.get(made.config_hash) is None
    link.unlink()
    link.mkdir()
    assert [listed.fault is None for listed in cache.entries()] == [False]
    assert told == []
    assert cache.get(made.config_hash) is None
    assert len(told) == 1
    assert cache.save(made).bundle == bundle


def forged(cache_dir: Path, made: Made, files: Mapping[str, bytes]) -> str:
    """An intact bundle in the place of the entry, with files that no fit would leave; its version."""
    store, family = ModelStore(cache_dir), family_of(made.config_hash)
    staged = store.stage(family, files, meta())
    store.publish(staged)
    store.point(family, staged.version)
    return staged.version


def test_an_intact_bundle_that_is_no_sound_entry_is_put_aside(made: Made, tmp_path: Path) -> None:
    """Of another configuration, with a model of other rows, with rows that are none, without a meaning."""
    told: list[str] = []
    cache = ModelCache(tmp_path, on_damage=lambda _, why: told.append(why))
    cache.save(made)
    files = ModelStore(tmp_path).open(family_of(made.config_hash)).files
    other = files["meta.json"].replace(made.config_hash.encode(), b"f" * 64)
    trained = files["model.json"].replace(b'"trained":', b'"trained":1')
    for name, content in (
        ("meta.json", other), ("model.json", trained), ("rows.npz", files["volatility.npz"]), ("meta.json", b"{}"),
    ):  # fmt: skip
        version = forged(tmp_path, made, {**files, name: content})
        assert cache.get(made.config_hash) is None
        assert version not in ModelStore(tmp_path).versions(family_of(made.config_hash))
    assert len(told) == 4
    assert "of configuration ffff" in told[0]
    assert "was fitted on" in told[1]


def test_entries_are_listed_without_their_numbers(made: Made, tmp_path: Path) -> None:
    """A damaged one is listed with what is wrong; the latest is not one as of a day of the past."""
    cache = ModelCache(tmp_path)
    first, second, past = (cache.save(of(made, config)) for config in (CONFIG, OTHER, PAST))
    listed = cache.entries()
    hashes = {each.metadata.config_hash for each in listed if each.metadata is not None}
    assert hashes == {first.config_hash, second.config_hash, past.config_hash}
    for each in listed:
        files = [path for path in (tmp_path / each.name).rglob("*") if path.is_file() and not path.is_symlink()]
        assert each.bytes == sum(path.stat().st_size for path in files) > 1_000
    assert cache.latest() == second
    assert cache.metadata(first.config_hash[:32] + 32 * "0") is None
    overwrite(files_of(tmp_path, of(made, OTHER)) / "rows.npz", b"damaged")
    assert cache.metadata(second.config_hash) == second
    overwrite(files_of(tmp_path, of(made, OTHER)) / "meta.json", b"damaged")
    with pytest.raises(BadBundle, match=r"meta\.json"):
        cache.metadata(second.config_hash)
    assert [each.fault is None for each in cache.entries()].count(False) == 1
    assert cache.latest() == first


def test_clearing_removes_all_or_what_is_old(made: Made, tmp_path: Path) -> None:
    """It tells what it freed; a damaged entry goes by the age of its folder; nothing else in the folder is touched."""
    cache = ModelCache(tmp_path)
    first = cache.save(replace(made, read_at=cache.save(made).updated_at - 31 * DAY))
    second = cache.save(of(made, OTHER))
    (tmp_path / "notes.txt").write_text("a person's")
    size = {each.name: each.bytes for each in cache.entries()}
    assert cache.clear(older_than_days=30) == Cleared(1, size[family_of(first.config_hash)])
    assert cache.get(first.config_hash) is None
    assert cache.get(second.config_hash) is not None
    overwrite(files_of(tmp_path, of(made, OTHER)) / "meta.json", b"damaged")
    assert cache.clear(older_than_days=30) == Cleared(0, 0)
    os.utime(tmp_path / family_of(second.config_hash), (1e9, 1e9))
    assert cache.clear(older_than_days=30).cleared == 1
    assert cache.clear() == Cleared(0, 0)
    anew = cache.save(of(made, OTHER))
    assert anew.created_at > second.created_at
    assert cache.clear().cleared == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "registry"]
    assert not list((tmp_path / "registry").iterdir())


def test_what_is_being_read_survives_clearing(made: Made, tmp_path: Path) -> None:
    """Whoever holds a version keeps it until he lets go; it is an entry no more."""
    cache = ModelCache(tmp_path)
    bundle = cache.save(made).bundle
    store, family = ModelStore(tmp_path), family_of(made.config_hash)
    with store.held(family, bundle):
        freed = cache.clear()
        assert freed.cleared == 1
        assert store.versions(family) == [bundle]
    assert cache.get(made.config_hash) is None


def test_a_version_that_is_not_kept_serves_who_names_it(made: Made, tmp_path: Path) -> None:
    """And nobody else."""
    cache = ModelCache(tmp_path)
    told = cache.save(made, keep=False)
    assert cache.get(told.config_hash) is None
    assert cache.read(told.config_hash, told.bundle).metadata == told
    with pytest.raises(NotFound):
        cache.read(told.config_hash, "v2020-01-01-00000000")


def test_a_version_that_is_made_again_may_be_read_again(made: Made, tmp_path: Path) -> None:
    """Its age counts from then: it goes neither with this saving nor, unless nobody asks for it, a day later."""
    told = ModelCache(tmp_path).save(made, keep=False)
    folder = tmp_path / family_of(made.config_hash) / told.bundle
    os.utime(folder, (0, 0))
    again = ModelCache(tmp_path).save(made, keep=False)
    assert again.bundle == told.bundle
    assert ModelCache(tmp_path).read(made.config_hash, told.bundle).metadata.bundle == told.bundle
    assert folder.stat().st_mtime > 0


def test_memory_is_bounded(made: Made, tmp_path: Path) -> None:
    """An entry larger than the limit is served, and read again each time."""
    ModelCache(tmp_path).save(made)
    cache = ModelCache(tmp_path, max_bytes=10_000)
    sources = [found.source for _ in range(2) if (found := cache.get(made.config_hash)) is not None]
    assert sources == ["disk", "disk"]


@pytest.mark.parametrize("name", ["", "../../etc", "g" * 64, "A" * 64, "0" * 63])
def test_only_a_hash_names_an_entry(name: str, tmp_path: Path) -> None:
    """No path comes from input."""
    with pytest.raises(BadInput, match="64 hexadecimal digits"):
        ModelCache(tmp_path).get(name)
