"""What a command says of an error, and the status it ends with."""

import logging

import pytest

from gandist.cli.command import command
from gandist.errors import ConfigError, RunError

REFUSED = ConfigError("a.yaml: train.batch: is 0; give 1 or more")


def raised(error: BaseException, failure: str | None, prefix: str = "gandist") -> int:
    @command(failure=failure, prefix=prefix)
    def main(argv: list[str] | None = None) -> int:
        raise error

    return main([])


@pytest.mark.parametrize(
    ("error", "failure", "status", "line"),
    [
        (REFUSED, None, 2, f"{REFUSED}"),
        (REFUSED, "the run failed: ", 2, f"{REFUSED}"),
        (OSError("no room"), None, 2, "no room"),
        (OSError("no room"), "the run failed: ", 1, "the run failed: no room"),
        (RunError("diverged"), "the run failed: ", 1, "the run failed: diverged"),
        (RunError("diverged"), "", 1, "diverged"),
        (KeyboardInterrupt(), None, 130, "interrupted"),
    ],
)
def test_an_error_is_one_line_and_a_status(
    error: BaseException, failure: str | None, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raised(error, failure) == status
    printed = capsys.readouterr()
    assert printed.err == f"gandist: {line}\n"
    assert not printed.out


def test_a_prefix_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert raised(REFUSED, None, "error") == 2
    assert capsys.readouterr().err == f"error: {REFUSED}\n"


@pytest.mark.parametrize("error", [RunError("diverged"), ValueError("a fault of ours")], ids=["RunError", "ValueError"])
def test_what_no_user_can_mend_is_raised(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        raised(error, None)


def test_messages_are_shown_and_the_status_is_the_function_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    @command()
    def main(status: int) -> int:
        logging.getLogger("gandist").info("said")
        return status

    assert (main(0), main(143)) == (0, 143)
    assert capsys.readouterr().err == "said\nsaid\n"
