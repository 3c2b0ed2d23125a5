"""Errors shown to the user: each message names the file or the field, and the fix."""


class GandistError(Exception):
    """An error that the user can fix. Commands print its message and exit with status 2."""


class ConfigError(GandistError):
    """A configuration that cannot run: an unknown key, an invalid value, or two fields that disagree."""


class DataError(GandistError):
    """Samples, shards or an index that cannot be used: missing, damaged, or of the wrong shape."""


class UnreachableError(DataError):
    """Data that cannot be reached, so that its state is unknown: the storage does not answer or denies access, or the
    cache is too small."""


class CheckpointError(GandistError):
    """A checkpoint that is incomplete, altered, or belongs to another configuration."""


class RunError(Exception):
    """A run that started and failed; no single field fixes it. Commands exit with status 1."""


class OvertakenError(RunError):
    """A later attempt has taken over the run: this one must not write any more."""
