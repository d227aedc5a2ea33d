"""The training log: a CSV file that survives interruption, optional TensorBoard events, and the loss curve."""

from __future__ import annotations

import csv
from pathlib import Path

COLUMNS = (
    "step", "epoch", "loss", "learning_rate", "gradient_norm", "nonfinite_steps", "molecules", "molecules_per_s",
    "elapsed_s", "validation",
)  # fmt: skip
"""Columns of log.csv. loss: mean over the interval; gradient_norm: last step; nonfinite_steps: steps so
far with gradients that were not finite; molecules: seen so far; validation: ``name=loss`` pairs separated by spaces."""


class TrainingLog:
    """Appends rows to ``folder/log.csv`` (and to TensorBoard). Rows after ``resume_step`` are removed first."""

    def __init__(self, folder: Path, resume_step: int, tensorboard: bool):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.csv"
        rows = [row for row in read_log(self.path) if int(row["step"]) <= resume_step] if resume_step else []
        self.elapsed = float(rows[-1]["elapsed_s"]) if rows else 0.0
        self._file = self.path.open("w", newline="")
        self._writer = csv.DictWriter(self._file, COLUMNS)
        self._writer.writeheader()
        self._writer.writerows(rows)
        self._file.flush()
        self._events = _tensorboard_writer(folder) if tensorboard else None

    def write(self, row: dict, validation: dict[str, float] | None = None) -> None:
        """One row; ``validation`` maps source names to losses."""
        text = " ".join(f"{name}={value:.6g}" for name, value in (validation or {}).items())
        formatted = {k: f"{v:.8g}" if isinstance(v, float) else v for k, v in row.items()}
        self._writer.writerow({**formatted, "validation": text})
        self._file.flush()
        if self._events is not None:
            for key in ("loss", "learning_rate", "gradient_norm", "molecules_per_s"):
                self._events.add_scalar(f"training/{key}", row[key], row["step"])
            for name, value in (validation or {}).items():
                self._events.add_scalar(f"validation/{name}", value, row["step"])

    def close(self) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()


def _tensorboard_writer(folder: Path):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("log.tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(folder / "tensorboard")


def read_log(path: Path) -> list[dict[str, str]]:
    """Complete rows of a log file, as text; empty if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as handle:
        return [row for row in csv.DictReader(handle) if None not in row.values() and row["step"]]


def plot_log(path: Path, target: Path) -> None:
    """Loss curve of a log file as PNG: training loss, validation loss per source, learning rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_log(path)
    if not rows:
        raise ValueError(f"{path} has no rows to plot")
    steps = [int(row["step"]) for row in rows]
    validation: dict[str, tuple[list[int], list[float]]] = {}
    for step, row in zip(steps, rows, strict=True):
        for pair in row["validation"].split():
            name, _, value = pair.rpartition("=")
            curve = validation.setdefault(name, ([], []))
            curve[0].append(step)
            curve[1].append(float(value))
    figure, (loss_axis, rate_axis) = pyplot.subplots(
        2, 1, figsize=(8, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    loss_axis.plot(steps, [float(row["loss"]) for row in rows], color="0.7", linewidth=0.8, label="training")
    for name, curve in validation.items():
        loss_axis.plot(*curve, marker=".", label=f"validation, {name} (EMA weights)")
    loss_axis.set(yscale="log", ylabel="loss")
    loss_axis.legend()
    rate_axis.plot(steps, [float(row["learning_rate"]) for row in rows], color="0.3")
    rate_axis.set(xlabel="step", ylabel="learning rate")
    figure.savefig(target, dpi=120)
    pyplot.close(figure)
