"""Draw the Grafana dashboard from its JSON, with Prometheus's data, as an HTML page or a PNG: no Grafana is needed."""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from cluster.picture.page import page, screenshot
from cluster.picture.window import MINUTE, Window, variables_of
from gandist.cli.command import command
from gandist.errors import ConfigError

DASHBOARD = Path(__file__).parents[1] / "grafana/gandist.json"


@command(prefix="cluster.picture")
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 2 after one message if the dashboard cannot be drawn."""
    parser = argparse.ArgumentParser(prog="python -m cluster.picture", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--prometheus", metavar="URL", default="http://127.0.0.1:9090", help="default: %(default)s")
    add("--dashboard", metavar="FILE", type=Path, default=DASHBOARD, help="default: cluster/grafana/gandist.json")
    add(
        "--out",
        metavar="FILE",
        type=Path,
        required=True,
        help="an .html, light or dark as its reader's system; or a .png",
    )
    add("--minutes", metavar="N", type=float, default=180, help="length of the window (default: 180)")
    add("--until", metavar="TIME", type=datetime.fromisoformat, help="its end, such as 2026-05-01T14:30, in UTC "
        "unless it has a zone (default: now)")  # fmt: skip
    add("--scrape", metavar="SECONDS", type=float, default=15, help="time between scrapes, 2 for `make cluster-local`; "
        "Grafana has it in its data source, as the scrape interval (default: 15)")  # fmt: skip
    add("--var", metavar="NAME=VALUE", action="append", default=[], help="a variable of the dashboard, such as "
        "run=demo; may be repeated (default: as the dashboard opens)")  # fmt: skip
    add("--rows", metavar="TITLE", nargs="+", default=[], help="rows to draw (default: all)")
    add("--width", metavar="PIXELS", type=int, default=1200, help="of a .png (default: 1200)")
    add("--dark", action="store_true", help="a .png in dark colours")
    options = parser.parse_args(argv)
    if options.out.suffix not in (".html", ".png"):
        raise ConfigError(f"--out {options.out}: give a name that ends in .html or .png")
    if bad := [each for each in options.var if "=" not in each]:
        raise ConfigError(f"--var {bad[0]}: write NAME=VALUE")
    try:
        dashboard = json.loads(options.dashboard.read_text())
    except ValueError as error:
        raise ConfigError(f"{options.dashboard}: not JSON: {error}") from error
    until = options.until.replace(tzinfo=options.until.tzinfo or UTC).timestamp() if options.until else time.time()
    window = Window(options.prometheus, until - MINUTE * options.minutes, until, options.scrape)
    variables = variables_of(dashboard, dict(each.split("=", 1) for each in options.var))
    html = page(dashboard, window, variables, options.rows)
    drawn = screenshot(html, options.width, options.dark) if options.out.suffix == ".png" else html.encode()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(drawn)
    print(f"{options.out}: {len(drawn) / 1e3:.0f} kB")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
