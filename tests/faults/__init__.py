"""Each fault that a long-lived server meets, injected into a real daemon."""
