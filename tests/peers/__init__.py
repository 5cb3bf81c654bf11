"""Programs that other people would write: small servers and clients to talk to."""
