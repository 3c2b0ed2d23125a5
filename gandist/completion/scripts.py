"""The scripts that shells read: shtab makes them of what the commands' parsers say, and of the fields of a run."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import shtab

PROG = "gandist"
COMMANDS = Path(__file__).parent / "commands.json"
PACKAGE = Path(__file__).parents[1]
SCHEMA = PACKAGE / "schemas" / "run.schema.json"

# shtab lets bash treat what a function with `_file` in its name prints as files' names.
TAKES: dict[str, dict[str, str]] = {
    "files": shtab.FILE,
    "folders": shtab.DIRECTORY,
    "keys": {"bash": "_gandist_fields", "zsh": "_gandist_fields", "fish": "(_gandist_fields)"},
    "configs": {"bash": "_gandist_files_or_fields", "zsh": "_gandist_configs", "fish": "(_gandist_configs)"},
}
"""What completes an argument of each kind, by the shell."""

BASH = Template("""\
_gandist_shipped="$configs"
_gandist_all_fields="$fields"
declare -gA _gandist_values=($values)
_gandist_fields() { compgen -S = -W "$$_gandist_all_fields" -- "$$1"; }
_gandist_files_or_fields() {
  compgen -W "$$_gandist_shipped" -- "$$1"
  compgen -f -X '!*.yaml' -- "$$1"
  compgen -d -- "$$1"
  [[ -n "$$1" ]] && _gandist_fields "$$1"
}
# Readline takes `section.key=value` apart at the equals sign.
_gandist_complete() {
  local word="$${COMP_WORDS[COMP_CWORD]}" before=1
  [[ "$$word" == "=" ]] && word="" && before=0
  if [[ "$${COMP_WORDS[COMP_CWORD-before]}" == "=" ]]; then
    local key="$${COMP_WORDS[COMP_CWORD-before-1]}"
    COMPREPLY=($$(compgen -W "$${_gandist_values[$${key:-none}]-}" -- "$$word"))
    [[ $${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=($$(compgen -f -- "$$word"))
    return 0
  fi
  _shtab_gandist "$$@"
  [[ "$${COMPREPLY[0]-}" == *= ]] && compopt +o filenames -o nospace 2>/dev/null
  return 0
}
""")
ZSH = Template("""\
_gandist_fields() { compadd -S '' -- $fields_set; }
_gandist_configs() { compadd -- $configs; _files -g '*.yaml'; }
""")
FISH = Template("""\
function _gandist_fields
  printf '%s\\n' $fields_set
end
function _gandist_configs
  printf '%s\\n' $configs
  __fish_complete_suffix .yaml
end
""")
PREAMBLES = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(shell: str) -> str:
    """What a shell (bash, zsh or fish) reads to complete `gandist`."""
    fields = dict(fields_of_a_run())
    words = {
        "configs": " ".join(shipped()),
        "fields": " ".join(fields),
        "fields_set": " ".join(f"{field}=" for field in fields),
        "values": " ".join(f'[{field}]="{" ".join(values)}"' for field, values in fields.items() if values),
    }
    parser = _parser(argparse.ArgumentParser(PROG), {"arguments": [], "commands": json.loads(COMMANDS.read_text())})
    made = shtab.complete(parser, shell, preamble=PREAMBLES[shell].substitute(words))
    last = f"complete -o bashdefault -F _gandist_complete {PROG}\n" if shell == "bash" else ""
    return f"{made}\n{last}"


def shipped() -> list[str]:
    """Names of the configurations that come with the package."""
    folders = (PACKAGE / "configs", PACKAGE.parent / "configs")
    return sorted(path.stem for folder in folders for path in folder.glob("*.yaml"))


def fields_of_a_run() -> Iterator[tuple[str, list[str]]]:
    """The dotted path of each field, and its values if there are few."""
    schema = json.loads(SCHEMA.read_text())
    for section, node in schema["properties"].items():
        if "$ref" in node:
            inside = schema["definitions"][node["$ref"].rpartition("/")[2]]
            yield from ((f"{section}.{name}", [*_values(field)]) for name, field in inside["properties"].items())
        else:
            yield section, [*_values(node)]


def _values(field: dict[str, Any]) -> Iterator[str]:
    for arm in field.get("anyOf", [field]):
        yield from map(str, arm.get("enum", ()))
        if arm.get("type") == "boolean":
            yield from ("true", "false")


def _parser(parser: argparse.ArgumentParser, said: dict[str, Any]) -> argparse.ArgumentParser:
    """A parser that says the same."""
    for argument in said["arguments"]:
        names, about = argument["names"], argument["help"].replace("%", "%%")
        if names == ["-h", "--help"]:
            continue
        if argument.get("nargs") == 0:
            parser.add_argument(*names, action="store_true", help=about)
            continue
        added = parser.add_argument(*names, nargs=argument.get("nargs"), choices=argument.get("choices"), help=about)
        if takes := argument.get("takes"):
            added.complete = TAKES[takes]  # type: ignore[attr-defined]
    if commands := said.get("commands"):
        inner = parser.add_subparsers()
        for name, each in commands.items():
            _parser(inner.add_parser(name, help=each["help"].replace("%", "%%")), each)
    return parser
