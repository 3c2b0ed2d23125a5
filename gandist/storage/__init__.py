"""Files here and in object stores; a run's files: written atomically, read whole, tensors as safetensors.

May import: `gandist.errors`.
"""
