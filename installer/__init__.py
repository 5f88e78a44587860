"""Sets the project up in a checkout: `python3 -m installer demo | test`. Standard library only."""
