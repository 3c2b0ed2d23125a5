"""The errors a user is meant to read: each message names the file or the field, and the fix."""


class GandistError(Exception):
    """Something the user can mend. Entry points print its message and exit with status 2."""


class ConfigError(GandistError):
    """A configuration that cannot be run: a bad key, a bad value, or two fields that disagree."""


class DataError(GandistError):
    """Images, shards or an index that cannot be used: missing, damaged, or of the wrong shape."""


class UnreachableError(DataError):
    """Data that cannot be had for a reason not its own, so that whether it is sound is not known: storage that does
    not answer or lets nobody in, a cache that is too small."""


class CheckpointError(GandistError):
    """A checkpoint that is torn, tampered with, or belongs to another configuration."""


class RunError(Exception):
    """A run that was started and failed: no one field mends it. Entry points exit with status 1."""


class OvertakenError(RunError):
    """A later attempt has taken the run over: this one may write nothing more."""
