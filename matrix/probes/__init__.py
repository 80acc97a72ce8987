"""Effects that only a working parameter shows, by subject. See `harness.declare.Probe`."""
