"""Where `gandist.evaluation` was. Holds the old name of a command."""
