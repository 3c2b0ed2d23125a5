"""Atomic file writes, and the files of a run, on a disk or in an object store; tensors as safetensors.

May import: `gandist.errors`.
"""
