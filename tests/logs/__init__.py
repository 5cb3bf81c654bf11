"""Mirrors `echo/logs`."""
