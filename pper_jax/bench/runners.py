"""The implementations that are raced, each behind one small interface.

A runner lives in a process of its own (``worker``). ``prepare`` loads and converts; ``run`` decodes all prompts once
and gives every prompt's programs, best first. All search for the same: the ``k`` programs of the largest sum of
log-probabilities, an EOS included, of at most ``max_new_tokens`` tokens.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

Program = tuple[int, ...]  # token ids, the EOS included


@dataclass(frozen=True)
class Job:
    """What every runner does.

    Attributes:
        folder: a Hugging Face model folder.
        prompts: token ids.
        k: beams, and programs returned a prompt; 1 is greedy.
        max_new_tokens: length limit, EOS included.
        eos_ids: tokens that end a program; empty = all run to the limit.
        batch_size: prompts at once.
        dtype: ``"float32"`` or ``"bfloat16"``.
    """

    folder: Path
    prompts: tuple[tuple[int, ...], ...]
    k: int
    max_new_tokens: int
    eos_ids: tuple[int, ...]
    batch_size: int
    dtype: str = "float32"


class Runner(Protocol):
    """One implementation; ``uses_jax`` says whether XLA's compilations are to be counted."""

    uses_jax: bool

    def prepare(self, job: Job) -> None:
        """Load and convert; not part of what is timed."""

    def run(self) -> list[list[Program]]:
        """The programs of every prompt, best first."""

    def details(self) -> dict[str, Any]:
        """What the report says about it beside times: versions, devices, peak device memory."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def through_eos(tokens: Sequence[int], eos_ids: Sequence[int]) -> Program:
    """``tokens`` up to the first EOS, which is kept."""
    end = next((i for i, token in enumerate(tokens, 1) if token in eos_ids), len(tokens))
    return tuple(int(token) for token in tokens[:end])


def batches(prompts: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Indices of prompts of similar length together, longest first, so that little of a batch is padding."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    return [order[i : i + size] for i in range(0, len(order), size)]


class PperRunner:
    """This project's engine."""

    uses_jax = True

    def prepare(self, job: Job) -> None:
        """Load the model."""
        from pper_jax.decode import lay_out

        self.job = job
        self.module, self.params = lay_out(*_load_jax(job))

    def run(self) -> list[list[Program]]:
        """Stream all prompts through the engine."""
        from pper_jax.decode import BeamConfig, decode_prompts

        job = self.job
        config = BeamConfig(width=job.k, max_new_tokens=job.max_new_tokens, eos_ids=job.eos_ids)
        results = decode_prompts(self.module, self.params, job.prompts, config=config, batch_size=job.batch_size)
        found = dict(results)
        return [[p.tokens for p in found[i]] for i in range(len(job.prompts))]

    def details(self) -> dict[str, Any]:
        """JAX's version and device."""
        return _jax_details()


class KernelsRunner(PperRunner):
    """This project's engine with its Pallas kernels for the device."""

    def prepare(self, job: Job) -> None:
        """Load the model."""
        import jax

        super().prepare(job)
        kernels = f"pallas_{jax.default_backend()}"
        self.module = self.module.clone(compute=replace(self.module.compute, kernels=kernels))


class GatherRunner(PperRunner):
    """A plain JAX beam search that replicates prompts and gathers its whole cache (``bench.gather``)."""

    def prepare(self, job: Job) -> None:
        """Load the model, in its plain layout."""
        self.job = job
        self.module, self.params = _load_jax(job)

    def run(self) -> list[list[Program]]:
        """Batch after batch."""
        from pper_jax.bench.gather import gather_beam_search
        from pper_jax.decode import pack_prompts

        job, out = self.job, {}
        slots = max(map(len, job.prompts))
        for rows in batches(job.prompts, job.batch_size):
            filled = rows + [rows[0]] * (job.batch_size - len(rows))
            prompts = pack_prompts([job.prompts[i] for i in filled], slots)
            tokens, length = gather_beam_search(
                self.module, self.params, prompts, k=job.k, max_new_tokens=job.max_new_tokens, eos_ids=job.eos_ids
            )
            for row, i in enumerate(rows):
                out[i] = [tuple(tokens[row, b, : length[row, b]].tolist()) for b in range(job.k)]
        return [out[i] for i in range(len(job.prompts))]


class TorchRunner:
    """transformers' ``generate`` on torch."""

    uses_jax = False

    def prepare(self, job: Job) -> None:
        """Load the model."""
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(cores())
        self.job, self.device = job, "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_pretrained(str(job.folder), dtype=getattr(torch, job.dtype))
        self.model = model.to(self.device).eval()
        self.model.generation_config.eos_token_id = list(job.eos_ids) or None
        self.model.generation_config.pad_token_id = 0

    def run(self) -> list[list[Program]]:
        """Batch after batch, prompts padded on the left."""
        import torch

        job, out = self.job, {}
        for rows in batches(job.prompts, job.batch_size):
            longest = max(len(job.prompts[i]) for i in rows)
            padded = [[0] * (longest - len(job.prompts[i])) + list(job.prompts[i]) for i in rows]
            mask = [[0] * (longest - len(job.prompts[i])) + [1] * len(job.prompts[i]) for i in rows]
            with torch.no_grad():
                found = self.model.generate(
                    torch.tensor(padded, device=self.device),
                    attention_mask=torch.tensor(mask, device=self.device),
                    do_sample=False,
                    num_beams=job.k,
                    num_return_sequences=job.k,
                    max_new_tokens=job.max_new_tokens,
                    **({"length_penalty": 0.0, "early_stopping": False} if job.k > 1 else {}),
                )
            programs = found[:, longest:].tolist()
            for row, i in enumerate(rows):
                out[i] = [through_eos(p, job.eos_ids) for p in programs[row * job.k : (row + 1) * job.k]]
        return [out[i] for i in range(len(job.prompts))]

    def details(self) -> dict[str, Any]:
        """Versions, device and its peak memory."""
        import torch
        import transformers

        out: dict[str, Any] = {"torch": torch.__version__, "transformers": transformers.__version__}
        if self.device == "cuda":
            out["device"], out["device_peak_bytes"] = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated()
        return out


class CTranslate2Runner:
    """CTranslate2's ``Generator`` on a model converted from the same folder."""

    uses_jax = False

    def __init__(self, compute_type: str) -> None:
        self.compute_type = compute_type

    def prepare(self, job: Job) -> None:
        """Convert in a process that ends, so that its memory is not counted here; then load."""
        import ctranslate2
        from tokenizers import Tokenizer

        self.job = job
        folder = job.folder.with_name(f"{job.folder.name}-ctranslate2-{self.compute_type}")
        if not folder.exists():
            code = "from ctranslate2.converters.transformers import main; main()"
            options = ["--quantization", self.compute_type, "--model", str(job.folder), "--output_dir", str(folder)]
            subprocess.run([sys.executable, "-c", code, *options], check=True, stdout=subprocess.DEVNULL)
        tokenizer = Tokenizer.from_file(str(job.folder / "tokenizer.json"))
        self.tokens = [[tokenizer.id_to_token(token) for token in prompt] for prompt in job.prompts]
        self.generator = ctranslate2.Generator(
            str(folder), device="cpu", compute_type=self.compute_type, intra_threads=cores()
        )

    def run(self) -> list[list[Program]]:
        """One call; CTranslate2 makes batches of similar length itself."""
        job = self.job
        results = self.generator.generate_batch(
            self.tokens,
            max_batch_size=job.batch_size,
            beam_size=job.k,
            num_hypotheses=job.k,
            length_penalty=0,
            max_length=job.max_new_tokens,
            end_token=list(job.eos_ids),
            return_end_token=True,
            include_prompt_in_result=False,
            return_scores=True,
        )
        return [[through_eos(ids, job.eos_ids) for ids in result.sequences_ids] for result in results]

    def details(self) -> dict[str, Any]:
        """The version."""
        import ctranslate2

        return {"ctranslate2": ctranslate2.__version__, "compute_type": self.compute_type}


# name -> (packages it needs beyond this project's own, how it is made)
RUNNERS: dict[str, tuple[tuple[str, ...], Any]] = {
    "pper": ((), PperRunner),
    "pper-kernels": ((), KernelsRunner),
    "torch": (("torch",), TorchRunner),
    "ctranslate2-float32": (("ctranslate2", "torch"), lambda: CTranslate2Runner("float32")),
    "ctranslate2-int8": (("ctranslate2", "torch"), lambda: CTranslate2Runner("int8")),
    "gather": ((), GatherRunner),
}


def missing_packages(name: str) -> list[str]:
    """Packages that runner ``name`` needs and that are not installed."""
    return [package for package in RUNNERS[name][0] if find_spec(package) is None]


def make_runner(name: str) -> Runner:
    """A fresh runner."""
    runner: Runner = RUNNERS[name][1]()
    return runner


def _load_jax(job: Job) -> tuple[Any, Any]:
    """The module and its parameters, stored in the type that they are computed in."""
    import jax

    from pper_jax.models import load_model

    module, params, _ = load_model(job.folder, dtype=job.dtype)
    if job.dtype != "float32":
        params = jax.tree.map(lambda x: x.astype(job.dtype), params)
    return module, params


def _jax_details() -> dict[str, Any]:
    import jax

    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    out: dict[str, Any] = {"jax": jax.__version__, "device": device.device_kind}
    if "peak_bytes_in_use" in stats:
        out["device_peak_bytes"] = stats["peak_bytes_in_use"]
    return out
