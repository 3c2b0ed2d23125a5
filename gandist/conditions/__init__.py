"""Conditions of G: none, a class, or a caption.

`condition.Condition` is the interface; the loop, the evaluation and the commands know no other. May import
`gandist.gan`, `gandist.distributed` and the rooms below them.
"""
