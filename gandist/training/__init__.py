"""The training loop of one rank: loading, inputs of a step, the step's execution, the row of a tick, and the main
rank's tasks. May import everything but `gandist.launch` and the commands.
"""
