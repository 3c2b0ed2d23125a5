"""What a sample is: `medium.Medium` is the interface, each kind of sample a file here, and `kinds.MEDIA` names them.

Also what a sample looks like outside the networks: grids and films. May import `gandist.storage` and what lies below.
Nothing is imported here: who packs images does not wait for torch.
"""
