"""What a run tells of itself: metrics and their ports, signals and the verdict on its health, trackers, the terminal.

May import: `gandist.config`, `gandist.gan`, `gandist.storage`, `gandist.errors`.
"""
