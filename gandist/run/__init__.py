"""The contents of a run's folder: checkpoints, attempts, the metrics log, evaluations, and the trained generator. May
import: `gandist.data` and the packages below it.
"""
