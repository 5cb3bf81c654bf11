"""The one thing that setup.cfg can't say: the compiled loop, which installs where it can."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Optional: a machine without a compiler installs without it, and echoes in Python.
        Extension(
            "echo.server.compiled_loop",
            ["echo/server/compiled_loop.pyx", "echo/server/followers.c"],
            depends=["echo/server/followers.h"],
            optional=True,
        ),
    ]
)
