"""What GitTorrent nodes say to each other: codecs and machines, without any socket.

For the node and the adapters below it; pure. ``pktline`` frames, ``service`` names what is asked
for, ``mirrorlist`` and ``notify`` are the two short services, ``messages`` and ``session`` the long
conversation, ``urls`` says which learned addresses may be contacted, ``limits`` bounds them all.

Rules: everything read here was written by a stranger. Parsers are strict in what they know, skip
keywords and trailing words they do not know, and check a bound before they keep or allocate.
Must not know: sockets, time, repositories, or whether anything said is true.
"""
