"""Media: `medium.Medium` is the interface, each kind of sample has a file here, and `kinds.MEDIA` names them.

Also the preparation of files for shards, grids and films. May import: `gandist.gan` and the rooms below it. This module
imports nothing: packing images must not wait for torch.
"""
