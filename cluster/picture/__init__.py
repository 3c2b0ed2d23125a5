"""`python -m cluster.picture --out FILE`: the Grafana dashboard, drawn without Grafana.

It draws what the dashboard has, rows, stats and time series, in the manner of gandist's report, and refuses the rest.
"""
