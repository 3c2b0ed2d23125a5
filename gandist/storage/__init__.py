"""Files that appear whole, the files of a run on a disk or in an object store, models on the Hugging Face Hub, and
tensors as safetensors. May import: `gandist.cli`, `gandist.errors`.
"""
