"""The start of a run: resume or refuse, alone, under `torchrun` or on Ray, and what the driver does meanwhile.

May import everything but the commands.
"""
