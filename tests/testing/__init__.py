"""Mirrors `echo/testing`."""
