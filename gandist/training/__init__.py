"""The loop of one rank: what it loads, what a step is given, how it is played, the row of an interval, and what the
main rank does besides. May import everything but `gandist.launch` and the commands.
"""
