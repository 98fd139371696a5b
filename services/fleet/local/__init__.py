"""The fleet as processes on this machine: the servers from pip, the supervisor, `up`."""
