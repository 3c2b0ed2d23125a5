"""Sets of samples: packing, the index, order, caches, the decoded store, a rank's data loader, and samples written as
files. May import: `gandist.monitoring` and the rooms below it.
"""
