"""The one thing that setup.cfg can't say: the compiled loop, which installs where it can."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Optional: a machine without a compiler installs without it, and echoes in Python.
        Extension("echo.server.relay", ["echo/server/relay.pyx"], optional=True),
    ]
)
