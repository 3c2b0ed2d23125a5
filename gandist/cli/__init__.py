"""What all commands share: errors as exit statuses, Ctrl-C, messages on standard error, progress on a terminal, and
types of arguments. May import: `gandist.errors`.
"""
