"""What G is told of the sample that it is to make: nothing, a class, or a caption.

`condition.Condition` is the interface; the loop, the evaluation and the commands know no other. May import
`gandist.gan`, `gandist.distributed` and what lies below them.
"""
