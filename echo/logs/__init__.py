"""The log's wing: writing events without holding anybody up, and reading them back."""
