"""Sets of samples: packing, the index, order, caches, the decoded store, a rank's data loader, and samples written as
files. May import: `gandist.conditions`, `gandist.config`, and the packages below them.
"""
