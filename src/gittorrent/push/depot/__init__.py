"""What a depot says to `git push` and hears from it: git's receive-pack, spoken by this program.

Pure: packets in, packets out. Git's own receive-pack makes up its nonces itself and cannot be given
ours, so the words are spoken here, and git only gets the objects
(docs/protocol/push.md, "Depot").
"""
