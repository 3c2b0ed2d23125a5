"""The loop of one rank: what a step is given, how it is played, the row of an interval, and what the main rank writes.

May import everything but `gandist.launch` and the commands.
"""
