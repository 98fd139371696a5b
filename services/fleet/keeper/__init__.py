"""The keeper: one leader that re-sends, repairs and schedules, so that nothing waits for a person."""
