"""`gknet rank`: Bradley-Terry scores with confidence intervals out of pairwise votes (Table 3's measure)."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt


class VotesError(ValueError):
    """Votes that decide no ranking; the text says why and what to do."""


@dataclass(frozen=True)
class Rank:
    """One method's place.

    Attributes:
        score: Bradley-Terry: a method with the score s is preferred to one with t with probability
            1 / (1 + exp(t - s)). The scores' mean is 0.
        low, high: ends of its 95 % confidence interval.
        wins, votes: how often it won, of how many votes.
    """

    method: str
    score: float
    low: float
    high: float
    wins: int
    votes: int


def read_votes(files: Iterable[Path]) -> list[tuple[str, str]]:
    """(winner, loser) of each vote in files that the page of `gknet compare` saved; votes for neither are left out.

    Raises:
        VotesError: a file has other columns, or a winner that was not shown.
    """
    votes = []
    for file in files:
        with file.open(newline="", encoding="utf-8") as text:
            for row in csv.DictReader(text):
                try:
                    left, right, winner = row["left"], row["right"], row["winner"]
                except KeyError as error:
                    raise VotesError(f"{file} has no column {error}: give files that the page saved") from error
                if winner not in ("", left, right):
                    raise VotesError(f"{file}: {winner} won where {left} and {right} were shown")
                if winner:
                    votes.append((winner, right if winner == left else left))
    return votes


def rank(votes: list[tuple[str, str]]) -> list[Rank]:
    """Fit the Bradley-Terry model by maximum likelihood; the intervals are Wald's, from the observed information.

    They take votes as independent; those of one person or of one picture are not quite: true intervals are wider.

    Args:
        votes: (winner, loser).

    Returns:
        The best first.

    Raises:
        VotesError: no votes, or methods between which all votes went one way, so that no finite score fits.
    """
    from scipy.optimize import minimize
    from scipy.sparse.csgraph import connected_components
    from scipy.special import expit
    from scipy.stats import norm

    methods = sorted({method for vote in votes for method in vote})
    if not methods:
        raise VotesError("there is no vote for either side: vote first")
    wins = np.zeros((len(methods), len(methods)))  # of the row over the column
    for winner, loser in votes:
        wins[methods.index(winner), methods.index(loser)] += 1
    groups, _ = connected_components(wins, connection="strong")
    if groups > 1:
        raise VotesError(
            "some methods won or lost every vote against the others, or were never shown with them: collect more votes"
        )

    def loss(scores: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        gaps = scores[:, None] - scores
        surprise = wins * expit(-gaps)
        return float((wins * np.logaddexp(0, -gaps)).sum()), surprise.sum(0) - surprise.sum(1)

    scores = minimize(loss, np.zeros(len(methods)), jac=True, tol=1e-10).x
    scores -= scores.mean()
    chance = expit(scores[:, None] - scores)
    weight = (wins + wins.T) * chance * (1 - chance)
    # The scores' common shift is free; the pseudo-inverse leaves it out, as the mean of 0 does.
    covariance = np.linalg.pinv(np.diag(weight.sum(1)) - weight, hermitian=True)
    reach = norm.ppf(0.975) * np.sqrt(np.diag(covariance))
    ranks = [
        Rank(method, float(s), float(s - r), float(s + r), int(won), int(won + lost))
        for method, s, r, won, lost in zip(methods, scores, reach, wins.sum(1), wins.sum(0), strict=True)
    ]
    return sorted(ranks, key=lambda rank: -rank.score)


@click.command("rank")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Rank methods by the votes in FILES, which pages of `gknet compare` saved.

    Prints Bradley-Terry scores (their mean is 0; a difference of 1 means 73 % of the votes) with 95 % intervals.
    """
    try:
        ranks = rank(read_votes(files))
    except (VotesError, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{str(error.name).partition('.')[0]} is missing: install the extra [research]"
        ) from error
    width = max(6, *(len(one.method) for one in ranks))
    click.echo(f"{'method':<{width}}  score  95 % interval     won")
    for one in ranks:
        interval = f"{one.low:+.2f} to {one.high:+.2f}"
        click.echo(f"{one.method:<{width}}  {one.score:+.2f}  {interval:<16}  {one.wins} of {one.votes}")
