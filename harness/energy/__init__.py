"""What a run costs: joules, tokens per second, latency and memory, each with its method and uncertainty.

```
meters ◄── nvml, rapl ◄── sampler (own process) ◄─JSON lines─ client
windows: counter ticks and power around a window ──► crosscheck ──► readings: its energy and what speaks against it
estimates: mean, interval, difference to the control ──► quantities ──► summary ──► record
schedule: how long to measure, in which order, and when the warm-up is over
```

What runs in the sampler's process (`sampler`, `meters`, `nvml`, `rapl`) imports the standard library and NVML's
bindings only. A figure that could not be had is a `Missing` with its reason, never a zero.
"""
