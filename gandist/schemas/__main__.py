"""`python -m gandist.schemas`: write the schemas beside this module, and open each shipped file with its line."""

import json

from gandist.schemas.files import FOLDER, file_of, schemas, with_line


def write() -> None:
    """Write what has changed."""
    for kind, schema in schemas().items():
        file_of(kind).write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n")
    for config in sorted((FOLDER.parents[1] / "configs").glob("*.yaml")):
        config.write_text(with_line(config))


if __name__ == "__main__":
    write()
