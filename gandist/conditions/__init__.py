"""What G is told of the sample that it is to make: nothing, a class, or a caption.

`condition.Condition` is the interface; the loop, the evaluation and the commands know no other. May import
`gandist.gan`, `gandist.distributed` and what lies below them.
"""

from gandist.conditions.captions import Captions
from gandist.conditions.classes import Classes
from gandist.conditions.condition import Condition, Described, Nothing, Wish, Written

__all__ = ["Captions", "Classes", "Condition", "Described", "Nothing", "Wish", "Written"]
