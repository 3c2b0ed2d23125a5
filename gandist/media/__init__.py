"""Media: `medium.Medium` is the interface, each kind of sample has a file here, and `kinds.MEDIA` names them.

Also grids and films of samples. May import `gandist.storage` and the rooms below it. This module imports nothing:
packing images must not wait for torch.
"""
