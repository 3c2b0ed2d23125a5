"""The contents of a run's folder: checkpoints, attempts, the metrics log, messages, evaluations, and the trained
generator. May import: `gandist.data` and the rooms below it.
"""
