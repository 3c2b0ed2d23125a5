"""What is imported is declared: another package may cease to bring it along."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imported() -> set[str]:
    """Packages that the modules of gandist import, wherever in them."""
    found: set[str] = set()
    for file in ROOT.glob("gandist/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return {name.partition(".")[0] for name in found} - {"gandist"} - sys.stdlib_module_names


def plain(distribution: str) -> str:
    return re.split(r"[^\w.-]", distribution)[0].lower().replace("_", "-")


def test_every_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for extra, names in project["optional-dependencies"].items() if extra != "dev" for each in names]
    # triton comes with torch wherever there is a GPU for it.
    declared = {plain(each) for each in [*project["dependencies"], *extras]} | {"triton"}
    of = packages_distributions()
    missing = {name for name in imported() if not {plain(each) for each in of.get(name, [name])} & declared}
    assert not missing
