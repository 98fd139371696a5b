"""The trainer's work: gather bars, fit in a child, judge, publish; and the questions its API asks."""
