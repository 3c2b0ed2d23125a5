"""`gandist completion SHELL`: print what completes the commands' names, options and values in bash, zsh or fish.

Commands' parsers live beside the code that they start, which takes seconds to import. So `commands.json` holds their
options (`python -m gandist.completion.commands` writes it).
"""

import argparse
import sys

from gandist.cli.command import command

SHELLS = {
    "bash": 'eval "$(gandist completion bash)"  # in ~/.bashrc',
    "zsh": 'eval "$(gandist completion zsh)"  # in ~/.zshrc, after compinit',
    "fish": "gandist completion fish | source  # in ~/.config/fish/config.fish",
}
"""The shells, and what their users write where."""


@command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="gandist completion",
        description="Print what completes gandist's commands, options and fields in a shell.",
        epilog="\n".join(SHELLS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=[*SHELLS], help="the shell to print for")
    shell = parser.parse_args(argv).shell
    from gandist.completion.scripts import script  # importing shtab is needed for nothing else

    sys.stdout.write(script(shell))
    return 0
