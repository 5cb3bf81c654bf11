"""The promises, proved on real sockets and real processes."""
