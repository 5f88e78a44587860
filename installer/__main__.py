"""The door. Old Pythons must be able to read it: no new syntax, and no import of its siblings before the check."""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    found = ".".join(str(part) for part in sys.version_info[:2])
    sys.stderr.write(
        "error: Python " + found + " is not supported: install Python 3.10 to 3.13, for instance with "
        "`sudo apt install python3 python3-venv` on Debian 12, and start the installer with it.\n"
    )
    sys.exit(2)

from installer.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
