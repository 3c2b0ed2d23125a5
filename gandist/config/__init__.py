"""A run's configuration: its sections, loading, scheduled values, checks that fields agree, plug-ins, and the players
and game that it names. May import: `gandist.conditions` and the rooms below it.
"""
