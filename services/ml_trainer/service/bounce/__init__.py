"""The training of BounceHunter: a universe's dips to a version of its configuration's entry."""
