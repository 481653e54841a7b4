"""The benchmark of fan-out: the hub and what a user would pick instead, under one load, side by side in one run."""
