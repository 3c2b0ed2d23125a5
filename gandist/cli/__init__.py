"""What all commands share: Ctrl-C, messages on standard error, what a terminal shows of waiting, types of arguments.

May import: `gandist.errors`.
"""
