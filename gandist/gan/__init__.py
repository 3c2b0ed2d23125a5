"""The algorithm: step, objectives, penalties, augmentation, players and their optimiser, the VAE's game, networks, and
their GPU kernels. Nothing here reads a configuration. May import: `gandist.distributed`, `gandist.errors`.
"""
