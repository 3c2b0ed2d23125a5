"""`gandist COMMAND ...`: the same commands as `python -m gandist.COMMAND`."""

import sys
from importlib import import_module

from gandist import __version__
from gandist.cli.interrupts import interruptible

COMMANDS = {
    "train": "train a GAN, or resume its run",
    "sample": "draw samples from the generator of a run",
    "apply": "apply the generator of a run that is given pictures or sounds to yours",
    "explore": "play with the generator of a run on a page of this machine",
    "evaluate": "measure the generator of a run against real samples",
    "export": "write the generator of a run as ONNX, pt2, TorchScript or safetensors",
    "usefulness": "tell whether a run's samples help a classifier of real ones",
    "report": "write one HTML page of a run, or of several side by side",
    "compare": "train variants of a configuration and measure them side by side",
    "tune": "search learning rates, losses, any field, with Ray Tune",
    "bench": "measure this machine, and predict the speed of many GPUs",
    "push": "publish a run's players on the Hugging Face Hub, with a card",
    "pack": "pack images, sounds, clips or texts into indexed WebDataset shards",
    "doctor": "look at this machine, and say what would stop a run",
    "completion": "print what completes these commands in bash, zsh or fish",
}


@interruptible
def main() -> int:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "--version":
        print(f"gandist {__version__}")  # noqa: T201
        return 0
    if command not in COMMANDS:
        listing = "\n".join(f"  gandist {name:10} {what}" for name, what in COMMANDS.items())
        print(f"usage: gandist COMMAND ... (--help for each)\n{listing}", file=sys.stderr)  # noqa: T201
        return 0 if command in ("-h", "--help") else 2
    result: int = import_module(f"gandist.{command}").main(sys.argv[2:])
    return result


if __name__ == "__main__":
    sys.exit(main())
