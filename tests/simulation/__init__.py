"""A whole cluster in one process on virtual time: servers, workers, channels, a store, and everything that breaks.

`python -m tests.simulation --seeds 1-200` runs seeds; a failing one is printed and repeats exactly.
"""
