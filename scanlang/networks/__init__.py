"""Blocks and backbones with their sizes in numbers: what a module is made from, counted from and checked on, without torch."""
