"""The share of what is learnt that one key may tell."""

from tidewheel.bandits.key_share import holds_too_much


def test_one_key_is_held_to_its_share() -> None:
    """A key that posts without end holds its share of the last 200 and no more; others go on."""
    learnt: list[str] = []
    for _ in range(1_000):
        for actor in ("liar", "liar", "liar", "honest"):
            if not holds_too_much(learnt, actor, 0.05 if actor == "liar" else 1.0):
                learnt.append(actor)
        assert learnt[-200:].count("liar") <= 0.05 * max(20, len(learnt[-200:]))

    assert learnt.count("liar") > 20


def test_a_beginning_is_counted_as_twenty() -> None:
    """The first outcomes of all are not one key's whole share: 25 % of 20 are five."""
    assert [holds_too_much(["a"] * held, "a", 0.25) for held in range(7)] == [False] * 5 + [True] * 2


def test_a_single_key_may_tell_everything() -> None:
    """With a share of 1 nothing is left out."""
    assert not holds_too_much(["a"] * 500, "a", 1.0)
