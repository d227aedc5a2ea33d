"""The training loop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

import ditkernels
from ditkernels.models.training.checkpoint import CheckpointError, list_checkpoints, load_checkpoint, save_checkpoint
from ditkernels.models.training.config import config_to_dict
from ditkernels.models.training.distributed import World
from ditkernels.models.training.ema import EMA
from ditkernels.models.training.gradients import condition_gradients
from ditkernels.models.training.log import TrainingLog
from ditkernels.models.training.recipe import Examples, Recipe
from ditkernels.models.training.schedule import learning_rate_factor
from ditkernels.models.training.steps import StepData, training_steps


class Trainer:
    """One training run in one folder: ``config.yaml``, ``log.csv``, ``checkpoints/step_*``.

    Args:
        recipe: the run: its configuration, network, data and loss.
        output: folder of the run.
        world: process group and device.
        resume: continue from the newest checkpoint in ``output``; False refuses a folder that has one.
        echo: receives sentences for the user.

    Raises CheckpointError if there is nothing to resume from, or there is and ``resume`` is False.
    """

    def __init__(
        self,
        recipe: Recipe,
        output: Path,
        world: World,
        resume: bool = False,
        echo: Callable[[str], None] = print,
    ):
        config = recipe.config
        self.recipe, self.config, self.output, self.world = recipe, config, output, world
        self.echo = echo if world.is_main else lambda sentence: None
        torch.manual_seed(config.seed)
        self.network = recipe.network().to(world.device)
        self.ema = EMA(self.network, config.optimizer.ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.optimizer.learning_rate,
            betas=config.optimizer.betas,
            eps=config.optimizer.eps,
            weight_decay=config.optimizer.weight_decay,
            fused=True,
        )
        if recipe.stream.left_out:
            self.echo(f"{recipe.stream.left_out} training molecules exceed the batch budget and are left out")
        self.step = self.epoch = self.position = self.molecules = self.nonfinite_steps = 0
        # Loss of the steps since the last row of the log; part of a checkpoint, so that rows do not depend on breaks.
        self._interval_loss = torch.zeros((), dtype=torch.float64, device=world.device)
        self._interval_steps = 0
        self._stop_signal: int | None = None
        self._restore(resume)
        self._replica = torch.compile(self.network, dynamic=True) if config.compile else self.network
        if world.size > 1:
            self._replica = DistributedDataParallel(
                self._replica, broadcast_buffers=False, find_unused_parameters=recipe.partial
            )

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.output / "checkpoints"

    def run(self) -> int | None:
        """Train up to ``schedule.steps``. Returns None when done, or the number of the signal that ended it early.

        On SIGINT or SIGTERM the step in progress is finished and a checkpoint written; a second one ends at once.
        """
        config, world = self.config, self.world
        log, validation = None, {}
        if world.is_main:
            self.output.mkdir(parents=True, exist_ok=True)
            (self.output / "config.yaml").write_text(yaml.safe_dump(config_to_dict(config), sort_keys=False))
            log = TrainingLog(self.output, self.step, config.log.tensorboard)
            validation = self.recipe.validation() if config.validation.every else {}
        data = training_steps(self.recipe, self.epoch, self.position, world.rank, world.size)
        handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        bar = tqdm(
            total=config.schedule.steps, initial=self.step, unit="step", disable=not world.is_main, smoothing=0.02
        )
        try:
            self._loop(data, log, validation, bar)
        finally:
            bar.close()
            data.close()
            if log is not None:
                log.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return self._stop_signal if self.step < config.schedule.steps else None

    def _loop(self, data, log: TrainingLog | None, validation: dict[str, list[Examples]], bar: tqdm) -> None:
        config, steps = self.config, self.config.schedule.steps
        run_start = time.monotonic() - (log.elapsed if log else 0.0)
        interval_start, interval_molecules, saved_step = time.monotonic(), self.molecules, self.step
        while self.step < steps and not self._should_stop():
            norm, rate = self._train_step(next(data))
            bar.update()
            last = self.step == steps
            validate = config.validation.every and (self.step % config.validation.every == 0 or last)
            if self.step % config.log.every == 0 or validate or last:
                loss = float(self.world.sum(self._interval_loss)) / self._interval_steps
                speed = (self.molecules - interval_molecules) / (time.monotonic() - interval_start)
                scores = self.validate(validation) if validate else {}
                if log is not None:
                    row = {
                        "step": self.step,
                        "epoch": self.epoch,
                        "loss": loss,
                        "learning_rate": rate,
                        "gradient_norm": float(norm),
                        "nonfinite_steps": self.nonfinite_steps,
                        "molecules": self.molecules,
                        "molecules_per_s": speed,
                        "elapsed_s": time.monotonic() - run_start,
                    }
                    log.write(row, scores)
                bar.set_postfix_str(f"loss {loss:.4g}, lr {rate:.2e}, {speed:.0f} molecules/s", refresh=False)
                for name, value in scores.items():
                    bar.write(f"step {self.step}: validation loss of {name} {value:.5g} {self.recipe.unit}")
                self._interval_loss.zero_()
                self._interval_steps = 0
                interval_start, interval_molecules = time.monotonic(), self.molecules
            if self.step % config.checkpoint.every == 0 or last:
                self.save()
                saved_step = self.step
        if saved_step != self.step:
            self.save()

    def _train_step(self, data: StepData) -> tuple[torch.Tensor, float]:
        """One optimiser step: returns the gradient norm (before clipping) and the learning rate used."""
        config = self.config
        rate = config.optimizer.learning_rate * learning_rate_factor(self.step, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        last = len(data.micro_batches) - 1
        for index, examples in enumerate(data.micro_batches):
            share = examples.num_molecules / data.total
            examples = examples.to(self.world.device)
            # Gradients cross the network once per step, after the last micro-batch.
            wait = self.world.size > 1 and index < last
            with self._replica.no_sync() if wait else nullcontext():
                loss = self._loss(self._replica, examples)
                # DistributedDataParallel averages over processes; the shares already add up to 1 over all of them.
                (loss * (share * self.world.size)).backward()
            self._interval_loss += loss.detach().double() * share
        norm, finite, take_step = condition_gradients(self.network.parameters(), config.optimizer)
        self.nonfinite_steps += not finite
        if take_step:
            self.optimizer.step()
        self.ema.update(self.step)
        self.step += 1
        self.epoch, self.position = data.epoch, data.position
        self.molecules += data.total
        self._interval_steps += 1
        return norm, rate

    def _loss(self, network, examples: Examples) -> torch.Tensor:
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            return self.recipe.loss(network, examples)

    @torch.no_grad()
    def validate(self, validation: dict[str, list[Examples]]) -> dict[str, float]:
        """Loss of the averaged weights per source (mean over molecules), on fixed noise."""
        scores = {}
        for name, batches in validation.items():
            total = sum(batch.num_molecules for batch in batches)
            losses = (
                self._loss(self.ema.network, b.to(self.world.device)) * (b.num_molecules / total) for b in batches
            )
            scores[name] = float(sum(losses))
        return scores

    def save(self) -> Path | None:
        """Write a checkpoint (main process; the others wait for it)."""
        loss = float(self.world.sum(self._interval_loss))
        if not self.world.is_main:
            self._interval_loss.zero_()
        path = None
        if self.world.is_main:
            state = {
                "epoch": self.epoch,
                "position": self.position,
                "molecules": self.molecules,
                "nonfinite_steps": self.nonfinite_steps,
                "interval_loss": loss,
                "interval_steps": self._interval_steps,
                "config": config_to_dict(self.config),
                "versions": {"ditkernels": ditkernels.__version__, "torch": torch.__version__, "numpy": np.__version__},
            }
            keep = self.config.checkpoint.keep
            path = save_checkpoint(
                self.checkpoints, self.step, self.network, self.ema.network, self.optimizer, state, keep
            )
        self.world.barrier()
        return path

    def _restore(self, resume: bool) -> None:
        found = list_checkpoints(self.checkpoints)
        if not resume:
            if found:
                raise CheckpointError(
                    f"{self.output} already holds checkpoints up to {found[-1].name}: continue with --resume, "
                    "or choose another folder with --output"
                )
            return
        if not found:
            raise CheckpointError(f"{self.checkpoints} holds no checkpoint to resume from; start without --resume")
        state = load_checkpoint(found[-1], self.network, self.ema.network, self.optimizer)
        self.step, self.epoch, self.position = state["step"], state["epoch"], state["position"]
        self.molecules, self.nonfinite_steps = state["molecules"], state["nonfinite_steps"]
        self._interval_loss.fill_(state["interval_loss"] if self.world.is_main else 0.0)
        self._interval_steps = state["interval_steps"]
        self.echo(f"resuming from {found[-1]}")
        for change in _differences(state["config"], config_to_dict(self.config)):
            self.echo(f"changed since the checkpoint: {change}")

    def _on_signal(self, number: int, frame) -> None:
        if self._stop_signal is not None:
            raise KeyboardInterrupt
        self._stop_signal = number

    def _should_stop(self) -> bool:
        """Whether any process received a signal: all must leave the loop after the same step."""
        if self.world.size == 1:
            return self._stop_signal is not None
        flag = torch.tensor(self._stop_signal or 0, device=self.world.device)
        number = int(self.world.sum(flag))
        if number and self._stop_signal is None:
            self._stop_signal = number
        return bool(number)


def _differences(before: dict, after: dict, where: str = "") -> list[str]:
    """``key: old -> new`` for every value that differs between two nested configurations."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{where}{key}.")
        elif old != new and f"{where}{key}" != "output":
            found.append(f"{where}{key}: {old} -> {new}")
    return found
