"""Sets of samples: packing, the index, order, caches, the decoded store, and the loader of a rank's batches.

May import: `gandist.config`, `gandist.storage`, `gandist.cli`, `gandist.errors`.
"""
