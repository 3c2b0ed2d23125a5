"""A run's files, on a disk or in an object store: written atomically, read whole, tensors as safetensors.

May import: `gandist.errors`, and for now `gandist.data.remote`, which opens object stores.
"""
