"""How fast is the daemon, beside what people would pick instead? ``python -m benchmarks``."""
