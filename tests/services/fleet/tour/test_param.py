"""What the tour tells."""

from services.fleet.tour.param import Book


def test_regret_is_what_a_fixed_preset_would_have_made_more() -> None:
    """Positive where it would have been better to stay with the preset."""
    book = Book("BTC/USDT", rewards=[1.0, -0.5], others={"fast": [1.0, 2.0], "slow": [-1.0, -0.5]})
    assert (book.regret("fast"), book.regret("slow")) == (2.5, -2.0)


def test_changes_are_counted_between_decisions() -> None:
    """The first preset is no change."""
    assert Book("BTC/USDT", presets=["a", "a", "b", "a"]).changes == 2
    assert Book("BTC/USDT").changes == 0
