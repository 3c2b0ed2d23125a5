"""The old name of `gandist.evaluation`, kept for `python -m gandist.quality.classifier`."""
