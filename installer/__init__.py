"""`python3 -m installer`: the product for this user (`install`, `doctor`, `uninstall`), archives of it for machines
without a network (`bundle`) and for Krita (`package`), and the project in a checkout (`demo`, `test`). Standard library
only."""
