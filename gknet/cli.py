"""The `gknet` command: what a researcher does with the network."""

from __future__ import annotations

import click

from gknet import evaluate, explain, train


@click.group()
def main() -> None:
    """Train, evaluate and explain harmonization networks (GKNet, Shen et al., ICCV 2023)."""


main.add_command(train.command)
main.add_command(evaluate.command)
main.add_command(explain.command)

if __name__ == "__main__":
    main()
