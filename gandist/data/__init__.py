"""Sets of samples: packing, the index, order, caches, the decoded store, the loader of a rank's batches, and samples
written as files. May import: `gandist.conditions`, `gandist.config`, and what lies below.
"""
