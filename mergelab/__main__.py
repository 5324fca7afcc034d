"""``python -m mergelab`` is the command ``mergelab``."""

import sys

from mergelab.cli import main

sys.exit(main())
