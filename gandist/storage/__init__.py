"""Files that appear whole or not at all, and a run's files, on a disk or in an object store; tensors as safetensors.

May import: `gandist.errors`.
"""
