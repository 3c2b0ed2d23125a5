"""What the folder of a run holds: checkpoints, attempts, the log of metrics, evaluations, and the generator that was
trained. May import: `gandist.data` and what lies below it.
"""
