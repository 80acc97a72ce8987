"""What a run costs: joules, tokens per second, latency and memory, each with its method and uncertainty.

```
meters ◄── nvml, rapl ◄── sampler (own process) ◄─JSON lines─ client
windows: counter ticks and power around a window ──► crosscheck ──► readings: its energy and what speaks against it
estimates: mean, interval, difference to the control ──► quantities ──► summary ──► record
schedule: how long to measure, in which order, and when the warm-up is over
functional: a judged cell's own run
measurer ──► measure: a cell and its control, round after round ──► measured: the file's records, held against a budget
metering: which meters are read for an engine; filling, tally: windows and their work, in the engine process
page ◄── effects, chart; trace ──► tracechart; plugin: pytest with `--energy`
```

What runs in the sampler's process (`sampler`, `meters`, `nvml`, `rapl`) imports the standard library and NVML's
bindings only. A figure that could not be had is a `Missing` with its reason, never a zero.
"""
