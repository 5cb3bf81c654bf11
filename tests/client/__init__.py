"""Mirrors `echo/client`."""
