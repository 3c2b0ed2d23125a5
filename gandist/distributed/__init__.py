"""What a rank is among others: process groups and agreement, keyed randomness, background work, threads, memory.

Nothing here knows of a configuration's meaning or of a GAN. May import: `gandist.errors`.
"""
