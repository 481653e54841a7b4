"""The benchmark of fan-out: the hub and what a user would pick instead, under the same load, side by side in one run."""
