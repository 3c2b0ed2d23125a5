"""How good generated images are: features, what is computed from them, and when a run does so.

May import: `gandist.run` and what lies below it.
"""
