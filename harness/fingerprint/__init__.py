"""What decides a cell's outcome, as one digest: while it stays the same, a recorded outcome need not be made again.

cells      the fingerprints of planned cells     reusable   which recorded outcomes stand for them
values     the planned cell: settings, workload, probe, variant, with the source of what they are made of
sources    the modules that a module imports, read from files
upstream   the backend: its libraries, its model, the machine, the adapter, and what reaches it from outside
"""
