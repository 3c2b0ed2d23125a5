"""The start of a run: resume or refuse; alone, under `torchrun` or on Ray; and the driver's work meanwhile.

May import: `gandist.training` and the rooms below it.
"""
