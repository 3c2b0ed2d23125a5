"""The loop of one rank: what it loads, what a step is given, the step eager or captured, the row of an interval, and
what the main rank does besides. May import everything but `gandist.launch` and the commands.
"""
