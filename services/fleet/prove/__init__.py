"""`tidewheel prove`: the promises of the loop, each tried out on real code; what did not hold is counted."""
