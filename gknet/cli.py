"""The `gknet` command: what a researcher does with the network."""

from __future__ import annotations

import click

from gknet import compare, evaluate, explain, rank, train


@click.group()
@click.version_option(package_name="gknet-harmonize", prog_name="gknet")
def main() -> None:
    """Train, evaluate, explain and compare harmonization networks (GKNet, Shen et al., ICCV 2023)."""


main.add_command(train.command)
main.add_command(evaluate.command)
main.add_command(explain.command)
main.add_command(compare.command)
main.add_command(rank.command)

if __name__ == "__main__":
    main()
