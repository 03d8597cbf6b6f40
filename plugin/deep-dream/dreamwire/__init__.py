"""What the plug-in, the daemon and every other client share: parameters, networks, messages, the client.

Imports neither gi, numpy nor torch, so that it starts in milliseconds inside any Python 3.10+.
"""

__version__ = "0.1.0"
