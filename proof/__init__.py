"""The long suite: halfulp held to independent references over all inputs, in pieces that resume.

``python -m proof`` runs it and prints what was compared with what; docs/proof.md explains it.
"""
