"""A stretch of time of a Prometheus: what its queries give, with the variables of a dashboard."""

import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

from gandist.errors import ConfigError
from gandist.report.curves import MOST_POINTS

MINUTE = 60


class Series(NamedTuple):
    labels: dict[str, str]
    points: list[tuple[float, float | None]]
    """Minutes since the window's start, and values; None where there is none or it is not finite."""


class Window(NamedTuple):
    """A stretch of time of a Prometheus."""

    url: str
    start_s: float
    end_s: float
    scrape_s: float

    @property
    def step_s(self) -> float:
        return max(self.scrape_s, (self.end_s - self.start_s) / MOST_POINTS)

    def filled(self, query: str, variables: Mapping[str, str]) -> str:
        """A query with the values of its variables, Grafana's own among them.

        Raises:
            ConfigError: a variable has no value.
        """
        own = {
            "__rate_interval": f"{1000 * max(self.step_s + self.scrape_s, 4 * self.scrape_s):.0f}ms",
            "__interval": f"{1000 * self.step_s:.0f}ms",
            "__range": f"{self.end_s - self.start_s:.0f}s",
        }
        values = {**variables, **own}

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name not in values:
                raise ConfigError(f"the variable ${name} has no value; the dashboard has {', '.join(variables)}")
            return values[name]

        return re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, query)

    def series(self, query: str, step_s: float | None = None) -> list[Series]:
        """Values of a query over the window, every `step_s` or `self.step_s` seconds back from its end."""
        step_s = step_s or self.step_s
        n = math.floor((self.end_s - self.start_s) / step_s)
        first_s = self.end_s - n * step_s
        found = self._get("query_range", query=query, start=first_s, end=self.end_s, step=step_s)
        return [
            Series(
                each["metric"], [((first_s + i * step_s - self.start_s) / MINUTE, values.get(i)) for i in range(n + 1)]
            )
            for each in found
            for values in [{round((at - first_s) / step_s): _finite(value) for at, value in each["values"]}]
        ]

    def at_end(self, query: str) -> list[Series]:
        """Values of a query at the window's end."""
        end = (self.end_s - self.start_s) / MINUTE
        found = self._get("query", query=query, time=self.end_s)
        return [Series(each["metric"], [(end, _finite(each["value"][1]))]) for each in found]

    def _get(self, what: str, **query: Any) -> list[dict[str, Any]]:
        address = f"{self.url.rstrip('/')}/api/v1/{what}"
        # A proxy of the environment has no business with loopback.
        local = urllib.parse.urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")
        opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
        try:
            with opener.open(f"{address}?{urllib.parse.urlencode(query)}", timeout=60) as reply:
                found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            raise ConfigError(f"{address} refused {query['query']}: {error.read().decode()}") from error
        except (urllib.error.URLError, ConnectionError, ValueError, KeyError) as error:
            raise ConfigError(f"--prometheus {self.url} does not answer as a Prometheus: {error}") from error


def _finite(text: str) -> float | None:
    return value if math.isfinite(value := float(text)) else None


def variables_of(dashboard: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, str]:
    """Values of the dashboard's variables: as chosen, or else as the dashboard opens.

    Raises:
        ConfigError: the dashboard has no variable of a chosen name.
    """
    found = {each["name"]: each for each in dashboard["templating"]["list"] if each["type"] != "datasource"}
    if unknown := chosen.keys() - found:
        raise ConfigError(f"--var {unknown.pop()}: the dashboard has the variables {', '.join(found)}")
    return {name: chosen.get(name) or _opening(each) for name, each in found.items()}


def _opening(variable: Mapping[str, Any]) -> str:
    value = variable["current"]["value"]
    values = [value] if isinstance(value, str) else value
    return str(variable.get("allValue") or ".*") if values == ["$__all"] else "|".join(map(re.escape, values))
