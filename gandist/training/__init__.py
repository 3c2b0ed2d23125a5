"""The training loop of one rank: loading, the inputs of a step, its execution, the row of a tick, and the main rank's
tasks. May import: `gandist.evaluation` and the rooms below it.
"""
