"""The quality of generated samples: features, the measures computed from them, and evaluations during a run.

May import: `gandist.run` and the rooms below it.
"""
