"""The train steps that are raced: ours, and transformers' class with torch's fused AdamW, on the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pper_jax.bench.runners import cores

LEARNING_RATE, WEIGHT_DECAY, BETAS, CLIP = 1e-4, 0.01, (0.9, 0.95), 1.0


@dataclass(frozen=True)
class TrainJob:
    """What every runner does: ``steps`` optimizer steps on one batch, whose every token but the first is a target.

    Attributes:
        folder: a Hugging Face model folder.
        rows: of the batch.
        length: tokens a row.
        vocabulary: tokens are drawn below it.
        steps: optimizer steps a turn.
        lean: scanned layers that are computed again in the backward pass, and a loss that keeps no logits.
    """

    folder: Path
    rows: int
    length: int
    vocabulary: int
    steps: int = 1
    lean: bool = False

    def tokens(self) -> np.ndarray:
        """``[rows, length]`` int32."""
        return np.random.default_rng(0).integers(1, self.vocabulary, (self.rows, self.length), np.int32)


class PperStep:
    """This project's train step: AdamW, clipping by global norm, a constant learning rate."""

    uses_jax = True

    def prepare(self, job: TrainJob) -> None:
        """Load the model and compile."""
        import jax
        import jax.numpy as jnp

        from pper_jax.models import Compute, load_model
        from pper_jax.sharding import make_mesh
        from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, make_train_step
        from pper_jax.types import TrainBatch

        module, params, _ = load_model(job.folder)
        if job.lean:
            module = module.clone(compute=Compute(scan_layers=True, remat="full", lean_loss=True))
        mesh = make_mesh(devices=jax.devices()[:1])
        options = OptimizerConfig(
            LEARNING_RATE, warmup_steps=0, weight_decay=WEIGHT_DECAY, b1=BETAS[0], b2=BETAS[1], clip_norm=CLIP
        )
        optimizer = make_optimizer(options, 1)
        self.state = init_train_state(params, optimizer, jax.random.key(0), mesh)
        del params
        tokens = jnp.asarray(job.tokens())
        self.batch = TrainBatch(tokens, jnp.ones_like(tokens), jnp.ones(tokens.shape, bool), jnp.ones(job.rows))
        step = make_train_step(module, optimizer, self.state, mesh)
        self.compiled: Callable[..., Any] = step.lower(self.state, self.batch).compile()  # type: ignore[attr-defined]
        self.steps = job.steps

    def run(self) -> list[float]:
        """Loss of each step."""
        losses = []
        for _ in range(self.steps):
            self.state, metrics = self.compiled(self.state, self.batch)
            losses.append(float(metrics.loss))
        return losses

    def details(self) -> dict[str, Any]:
        """Version, device, and the bytes beside arguments and results that the compiled step takes."""
        import jax

        memory = self.compiled.memory_analysis()  # type: ignore[attr-defined]
        return {
            "jax": jax.__version__,
            "device": jax.devices()[0].device_kind,
            "temporary_bytes": memory.temp_size_in_bytes,
        }


class TorchStep:
    """transformers' class, ``torch.optim.AdamW(fused=True)``, ``clip_grad_norm_``."""

    uses_jax = False

    def prepare(self, job: TrainJob) -> None:
        """Load the model."""
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(cores())
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = AutoModelForCausalLM.from_pretrained(str(job.folder), dtype=torch.float32).to(self.device).train()
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=1e-8, fused=True)
        self.tokens = torch.tensor(job.tokens(), dtype=torch.long, device=self.device)
        self.steps = job.steps

    def run(self) -> list[float]:
        """Loss of each step."""
        import torch

        losses = []
        for _ in range(self.steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.model(input_ids=self.tokens, labels=self.tokens).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            losses.append(float(loss))
        return losses

    def details(self) -> dict[str, Any]:
        """Versions."""
        import torch
        import transformers

        return {"torch": torch.__version__, "transformers": transformers.__version__, "device": self.device}


STEPS: dict[str, tuple[tuple[str, ...], Any]] = {"pper": ((), PperStep), "torch": (("torch",), TorchStep)}


def make_step(name: str) -> Any:
    """A fresh runner."""
    return STEPS[name][1]()


def missing(name: str) -> list[str]:
    """Packages that a runner needs and that are not installed."""
    return [package for package in STEPS[name][0] if find_spec(package) is None]
