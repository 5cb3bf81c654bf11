"""Other systems than this one: newer Pythons, a real systemd, containers, packages.

Each takes minutes, root, or a registry, so none is part of the ordinary run. CONTRIBUTING.md has
the commands.
"""
