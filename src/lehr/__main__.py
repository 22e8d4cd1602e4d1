"""`python -m lehr`."""

from lehr.cli import main

raise SystemExit(main())
