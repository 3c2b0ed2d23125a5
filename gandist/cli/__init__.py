"""Shared parts of all commands: errors as exit statuses, Ctrl-C, messages on standard error, progress on a terminal,
and types of arguments. May import: `gandist.errors`.
"""
