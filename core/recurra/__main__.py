"""`python -m recurra` is `recurra`."""

from __future__ import annotations

from recurra.cli.main import main

if __name__ == "__main__":
    main()
