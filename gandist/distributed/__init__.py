"""What a rank is among others: process groups and agreement, keyed randomness, background work, functions captured as
CUDA graphs, threads, memory. Nothing here knows of a configuration or of a GAN. May import: `gandist.errors`.
"""
