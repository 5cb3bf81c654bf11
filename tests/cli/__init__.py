"""Mirrors `echo/cli`."""
