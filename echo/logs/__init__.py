"""The log: writing events without delaying any session, and reading them back."""
