"""Types of command-line arguments: argparse shows their names where a word is not one."""

BEST = "best"


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def natural(text: str) -> int:
    if int(text) < 0:
        raise ValueError
    return int(text)


def which(text: str) -> int | str:
    """A checkpoint as the commands name it: by its images seen, or `best`."""
    if text != BEST and int(text) < 1:
        raise ValueError
    return text if text == BEST else int(text)
