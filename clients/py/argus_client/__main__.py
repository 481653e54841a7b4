"""``python -m argus_client`` is the command line ``argus``."""

import sys

from argus_client.cli import main

sys.exit(main())
