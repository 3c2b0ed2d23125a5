"""What the folder of a run holds: checkpoints, attempts, the log of metrics, evaluations, and the generator that was
trained. May import: `gandist.config`, `gandist.data`, `gandist.gan`, `gandist.storage`.
"""
