"""The algorithm: step, objectives, penalties, augmentation, players and their optimiser, the VAE's game, networks, and
the kernels that they run on. Nothing here reads a configuration. May import: `gandist.distributed`, `gandist.errors`.
"""
