"""Mirrors `deploy`: what is shipped there, run or checked."""
