"""A run's configuration: its sections, loading, values by schedule, checks that fields agree, plug-ins, and from names
to players and game. May import: `gandist.gan`, `gandist.distributed`, `gandist.storage`, `gandist.errors`.
"""
