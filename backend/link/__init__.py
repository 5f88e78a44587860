"""What an editor's plugin and the daemon share: the transport, the messages, how they find each other.

Python 3.8+, the standard library and msgpack alone: this package is copied into plugins, whose Python is the editor's.
"""

from .client import Client

__all__ = ["Client"]
