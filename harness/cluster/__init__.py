"""Runs that are spread over machines: a supervisor a slot, groups of cells given out, a node's loss survived."""

EXECUTORS = ("ray",)
