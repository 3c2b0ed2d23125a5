"""Figures of how the package is built: `python -m tests.helpers.house [CHECKOUT]`.

What they count is what a reader has to hold in mind: modules side by side, imports of the loop, branches on what G is
told, places that take samples for pictures, the longest function.
"""

import ast
import re
import sys
from pathlib import Path

CONDITION = re.compile(r"\b(model|config\.model|shape)\.(classes|text_dim)\b|\bindex\.text_dim\b")
PICTURE = re.compile(r"uint8|\bresolution\b|\bchannels\b|\(N, C, H, W\)|\bR, R\b|\bpng\b|\bPNG\b|\bgrid\b")
"""Words of pictures."""
CORE = re.compile(
    r"(training/|report/|run/checkpoint|(data|shards)/(feed|images|sets|resident|index|room)\b|(monitoring/)?trackers/"
    r"|(monitoring/)?telemetry|(evaluation|quality)/(evaluator|evaluation|features)|(worker|outputs|inputs|tick|checkpoint)\.py)"
)
"""Parts of the package in which they may not be."""


def statements(function: ast.AST) -> int:
    """Statements of a function, without its docstring and those of functions in it counted once."""
    return sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1


def figures(package: Path) -> dict[str, object]:
    """Each figure by its name."""
    files = sorted(package.rglob("*.py"))
    texts = {file.relative_to(package).as_posix(): file.read_text() for file in files}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    functions = [
        (statements(node), f"{name}:{node.name}")
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    loop = next(name for name in ("training/loop.py", "training/worker.py", "worker.py") if name in trees)
    imports = [
        node for node in trees[loop].body if isinstance(node, ast.ImportFrom) and str(node.module).startswith("gandist")
    ]
    outside = {name: text for name, text in texts.items() if not re.match(r"conditions/|(gan/)?networks/", name)}
    branches = [
        f"{name}:{number}"
        for name, text in outside.items()
        for number, line in enumerate(text.splitlines(), 1)
        if CONDITION.search(line)
    ]
    pictures = [
        f"{name}:{number}"
        for name, text in texts.items()
        if CORE.match(name)
        for number, line in enumerate(text.splitlines(), 1)
        if PICTURE.search(line)
    ]
    return {
        "modules": len(files),
        "modules at the top": len(list(package.glob("*.py"))),
        "longest module, in lines": max((text.count("\n"), name) for name, text in texts.items()),
        "modules of ours that the loop imports": len(imports),
        "lines that look at classes or text_dim outside conditions and networks": len(branches),
        "lines that speak of pictures in loop, loader, caches, index, evaluation, trackers, report": len(pictures),
        "longest function, in statements": max(functions),
        "functions of more than 40 statements": sum(n > 40 for n, _ in functions),
    }


if __name__ == "__main__":
    for name, value in figures(Path(*sys.argv[1:2] or ["."]) / "gandist").items():
        sys.stdout.write(f"{name}: {value}\n")
