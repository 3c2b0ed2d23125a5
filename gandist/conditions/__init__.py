"""Conditions of G: none, a class, a caption, or a sample (degraded, with holes, its partner, its mel spectrogram).

`condition.Condition` is the interface; the loop, the evaluation and the commands know no other. May import:
`gandist.media` and the rooms below it.
"""
