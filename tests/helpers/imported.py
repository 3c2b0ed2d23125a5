"""What `forked` has imported before it forks: a rank's modules, and what torch imports with the first optimiser and the
first product of forward mode."""

import pytest  # noqa: F401  # which a process under pytest would import as its main module
import torch._decomp.decompositions_for_jvp
import torch._dynamo  # noqa: F401

import gandist.launch.driver
import gandist.train.course  # noqa: F401
