"""Weights in files: published ones under their own names, and a network with its program. Needs torch when used."""
