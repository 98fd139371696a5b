"""What crosses a boundary: keys, times, states, messages, routes, scopes, verdicts and errors."""
