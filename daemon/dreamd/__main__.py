"""`python -m dreamd`: the same as `deepdream`."""

import sys

from .cli import main

sys.exit(main())
