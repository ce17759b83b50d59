"""Rows of the table: what was measured beside what, the ratio of the medians, and the goal."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Times = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a figure."""

    relation: str
    bound: float
    unit: str = "x"

    def __str__(self) -> str:
        """Write it as the table does."""
        return f"{self.relation} {self.bound:g}{_spaced(self.unit)}"

    def met(self, figure: float) -> bool:
        """Tell whether *figure* keeps it."""
        return figure >= self.bound if self.relation == ">=" else figure <= self.bound


def at_least(bound: float, unit: str = "x") -> Goal:
    """Want a figure of *bound* or more."""
    return Goal(">=", bound, unit)


def at_most(bound: float, unit: str = "x") -> Goal:
    """Want a figure of *bound* or less."""
    return Goal("<=", bound, unit)


@dataclass(frozen=True, slots=True)
class Row:
    """One line: *figure* is None where the rival is missing, which *rival* then says."""

    work: str
    rival: str
    figure: float | None
    unit: str = "x"
    goal: Goal | None = None
    ours: str = ""
    theirs: str = ""
    spread: str = ""

    def cells(self) -> tuple[str, ...]:
        """Write it: the figure first."""
        figure = "-" if self.figure is None else f"{number(self.figure)}{_spaced(self.unit)}"
        verdict = "" if self.goal is None or self.figure is None else "ok" if self.goal.met(self.figure) else "NO"
        goal = str(self.goal) if self.goal else ""
        return figure, self.spread, goal, verdict, self.work, self.ours, self.theirs, self.rival


HEAD = ("ratio", "from..to", "goal", "", "work", "dicomfs", "rival", "which rival")


@dataclass
class Table:
    """Rows as they are measured; each is told to *tell* at once."""

    tell: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Take a row."""
        self.rows.append(row)
        self.tell("  ".join(cell for cell in row.cells() if cell))

    def faster(
        self,
        work: str,
        rival: str,
        times: Mapping[str, Sequence[float]],
        goal: Goal | None = None,
        *,
        name: str = "",
        paired: bool = True,
    ) -> None:
        """Compare times: how many times as long as "ours" the rival takes (*name* in *times*, else *rival*).

        The spread is that of the rounds, where each is a pair (*paired*).
        """
        self._compare(work, rival, times, goal, name or rival, paired, lambda ours, theirs: theirs / ours)

    def slower(
        self,
        work: str,
        rival: str,
        times: Mapping[str, Sequence[float]],
        goal: Goal | None = None,
        *,
        name: str = "",
        paired: bool = True,
    ) -> None:
        """Compare times: how many times as long as the rival "ours" takes; otherwise as `faster`."""
        self._compare(work, rival, times, goal, name or rival, paired, lambda ours, theirs: ours / theirs)

    def figure(
        self, work: str, figure: float, unit: str, goal: Goal | None = None, *, rival: str = "", theirs: str = ""
    ) -> None:
        """Take a figure that stands for itself."""
        self.add(Row(work, rival, figure, unit, goal, theirs=theirs, ours=f"{number(figure)} {unit}"))

    def missing(self, work: str, rival: str, goal: Goal | None = None) -> None:
        """Say that a rival is not there."""
        self.add(Row(work, f"{rival}: NOT INSTALLED", None, goal=goal))

    def _compare(
        self,
        work: str,
        rival: str,
        times: Mapping[str, Sequence[float]],
        goal: Goal | None,
        name: str,
        paired: bool,
        ratio: Callable[[float, float], float],
    ) -> None:
        if not times.get(name):
            self.missing(work, rival, goal)
            return
        ours, theirs = statistics.median(times["ours"]), statistics.median(times[name])
        rounds = [ratio(*pair) for pair in zip(times["ours"], times[name], strict=True)] if paired else []
        spread = f"{number(min(rounds))}..{number(max(rounds))}" if rounds else ""
        self.add(Row(work, rival, ratio(ours, theirs), "x", goal, seconds(ours), seconds(theirs), spread))

    def __str__(self) -> str:
        """Write the whole table."""
        lines = [HEAD, *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
        text = [
            "  ".join(
                cell.rjust(width) if column in (0, 5, 6) else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        text.insert(1, "-" * max(map(len, text)))
        judged = [row for row in self.rows if row.goal]
        kept = sum(row.figure is not None and row.goal is not None and row.goal.met(row.figure) for row in judged)
        return "\n".join([*text, "", f"{kept} of {len(judged)} goals are met."])


def timed(act: Callable[[], object]) -> float:
    """Give the seconds that *act* takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def in_turns(rounds: int, sides: Mapping[str, Callable[[], float] | None]) -> Times:
    """Have the *sides*, each of which gives seconds, take turns; every other round the other way round.

    A side that is None is left out.
    """
    there = {name: side for name, side in sides.items() if side is not None}
    times: Times = {name: [] for name in there}
    for turn in range(rounds):
        for name in list(there)[:: -1 if turn % 2 else 1]:
            times[name].append(there[name]())
    return times


def seconds(value: float) -> str:
    """Write a time with three digits."""
    return f"{number(value)} s" if value >= 1 else f"{number(value * 1000)} ms"


def number(value: float) -> str:
    """Write a figure with three digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _spaced(unit: str) -> str:
    return unit if unit in ("x", "%") else f" {unit}"
