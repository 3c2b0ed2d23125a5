"""What a sample looks like outside the networks: grids and films.

May import: `gandist.storage`, `gandist.errors`.
"""
