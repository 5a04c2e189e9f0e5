"""Finding mirrors by a repository's id alone: on the local network and in the DHT of BitTorrent.

What comes of it are places where somebody may serve the repository, and nothing else is believed of
it. Must not know how mirrors are asked (that is `gittorrent.transfer`).
"""
