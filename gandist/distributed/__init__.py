"""Ranks and their device: process groups and agreement, keyed randomness, background work, CUDA graphs, threads,
memory. Nothing here knows of a configuration or of a GAN. May import: `gandist.storage` and the rooms below it.
"""
