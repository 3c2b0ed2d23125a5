"""What all commands share: errors as exit statuses, Ctrl-C, messages on standard error, what a terminal shows of
waiting, and types of arguments. May import: `gandist.errors`.
"""
