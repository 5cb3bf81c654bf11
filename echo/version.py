"""The version, in the one place that packaging, `--version` and the log read it from."""

VERSION = "0.1.0"
