"""What can go wrong in GTP/0.1, sorted by whose fault it is.

Pure. Everything a peer, tracker or file of a stranger does wrong is a `GtpError`; what our own
code must never do to a peer is a `ForbiddenMessageError`.
"""

from __future__ import annotations

from gittorrent.errors import GitTorrentError, ProtocolError, TrustError


class GtpError(ProtocolError):
    """Bytes that GTP/0.1 does not allow."""


class BencodeError(GtpError):
    """Not canonical bencoding, or beyond a limit."""


class MetainfoError(GtpError):
    """A metainfo file lacks something or has it in the wrong form."""


class MessageError(GtpError):
    """A peer message breaks its format or a limit."""


class HandshakeError(GtpError):
    """A connection that begins with something else than a fitting handshake."""


class TrackerError(GtpError):
    """A tracker's answer, or a request to our tracker, that breaks the format."""


class BadReferenceError(TrustError):
    """A reference object that is malformed, or whose signature does not hold."""


class UnsignedReferenceError(BadReferenceError):
    """A reference object that may be right, where nobody signs and nobody lists it."""


class ForbiddenMessageError(GitTorrentError):
    """We were about to send what the other end's dialect cannot bear; a defect of ours."""
