"""Monitoring of a run: metrics and their ports, signals and the verdict on its health, trackers.

May import: `gandist.config` and the rooms below it.
"""
