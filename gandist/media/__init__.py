"""What a sample looks like outside the networks: grids, image files, shards of samples, films.

May import: `gandist.storage`, and of `gandist.data` what writes shards.
"""
