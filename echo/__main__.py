"""`python -m echo` is `echod`."""

import sys

from echo.cli import main

sys.exit(main())
