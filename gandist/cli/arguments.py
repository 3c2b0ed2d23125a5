"""Types of command-line arguments: argparse shows their names in its error messages."""

BEST = "best"


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def above_zero(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise ValueError
    return float(text)


def natural(text: str) -> int:
    if int(text) < 0:
        raise ValueError
    return int(text)


def which(text: str) -> int | str:
    """A checkpoint on the command line: its images seen, or `best`."""
    if text != BEST and int(text) < 1:
        raise ValueError
    return text if text == BEST else int(text)
