"""Mirrors `echo/server`."""
