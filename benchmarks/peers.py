"""Training loops side by side: each library's own trainer on the same documents, one process a side, taking turns.

Every side trains the small model's shape (4 layers, 256 hidden, 1,536 feed-forward, 4 heads, vocabulary 32,768, context
512) from scratch in float32 with AdamW, on the same documents, tokenised by the same tokenizer, with targets in solutions
and answers only; documents of more than 512 tokens are left out. What was done is counted in documents: a document of n
tokens is n useful tokens, however a side pads, packs or shifts it.

- ours, ours-unpacked: this package's Trainer, 8 rows of 512 positions packed from several documents, or 8 documents padded.
- hf: Transformers' Trainer with its defaults: 8 documents a batch, padded to the longest by DataCollatorForSeq2Seq.
- hf-18: the same with 18 documents a batch, about as many as 8 packed rows hold.
- trl: TRL's SFTTrainer with best-fit packing, 8 rows; bfloat16 and gradient checkpointing, on by default, are off. It lays
  the rows of a batch end to end and, without Flash attention, masks 4,096 x 4,096 scores.
- trl-rows: the same row by row, 8 of them accumulated, each with its own 512 x 512.
- litgpt: LitGPT's model and loss in a plain loop over our packed batches; its documents see those before them in a row.
- llama: Transformers' Llama in the same plain loop, with the mask of documents that it makes of their positions.
"""

from __future__ import annotations

import math
import multiprocessing as mp
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from olympiad.config import TrainingOptions
from olympiad.data import (
    IGNORED,
    Batch,
    DataPreprocessor,
    MathDataset,
    MathDatasetLoader,
    MathProblem,
    create_dataloader,
    sample_problems,
)
from olympiad.data.decontamination import EvaluationIndex
from olympiad.model import MathTransformerDecoder, get_small_config
from olympiad.tokenizer import MathTokenizer
from olympiad.training.loss import next_token_loss

CONTEXT, ROWS, FOREVER = 512, 8, 1_000_000


@dataclass(frozen=True)
class Plan:
    """What a side trains. Without ``steps`` it goes on until it is stopped."""

    problems: Sequence[MathProblem]
    validation: Sequence[MathProblem] = ()
    steps: int | None = None
    seed: int = 0
    learning_rate: float = 1e-3
    as_ours: bool = False
    """Peers take our schedule, decay and betas instead of their defaults."""


class Work(NamedTuple):
    """What steps processed: documents, their tokens, and those of them that had to be predicted."""

    documents: int = 0
    tokens: int = 0
    targets: int = 0

    def __add__(self, other: Work) -> Work:  # type: ignore[override]
        return Work(*(a + b for a, b in zip(self, other, strict=True)))


class Chunk(NamedTuple):
    """Some steps of one side's turn."""

    steps: int
    seconds: float
    processor_seconds: float
    """Of all threads: other work on the machine changes it less than the time."""
    work: Work


class Stopped(Exception):
    """The benchmark has seen enough of this side."""


class Gate:
    """Stands in a training loop and lets a few steps through at a time."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.done = pipe, 0
        self.resident_before = 0
        self._batches: deque[Work] = deque()

    def before_model(self) -> None:
        """Data and libraries are there: from here on memory counts."""
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is resident now
        self.resident_before = peak_bytes()

    def peak(self) -> int:
        """The most memory that model, optimizer and steps took on top of data and libraries, in bytes."""
        return peak_bytes() - self.resident_before

    def start(self, total_steps: int) -> None:
        """All is built; wait for the first turn."""
        self.total = total_steps
        self.pipe.send(total_steps)
        self._wait()

    def batch(self, work: Work) -> None:
        """A batch was made, that a coming step will train on."""
        self._batches.append(work)

    def step(self, batches: int = 1) -> None:
        """A step of so many batches is done; at the end of the turn, tell and wait for the next one."""
        for _ in range(batches):
            self._work += self._batches.popleft()
        self.done, self._taken = self.done + 1, self._taken + 1
        if self._taken < self._turn and self.done < self.total:
            return
        now, processor = time.perf_counter(), time.process_time()
        self.pipe.send(Chunk(self._taken, now - self._started, processor - self._processor_started, self._work))
        self._wait()  # after the last step too: saving and evaluating would disturb the others

    def _wait(self) -> None:
        turn = self.pipe.recv()
        if turn is None and self.done < self.total:
            raise Stopped
        self._turn, self._taken, self._work = turn, 0, Work()
        self._started, self._processor_started = time.perf_counter(), time.process_time()


def peak_bytes() -> int:
    """The process's high-water mark of resident memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's peak memory (/proc/self/status has no VmHWM)")


def load_problems(validation_limit: int | None) -> tuple[list[MathProblem], list[MathProblem]]:
    """MATH's training problems without those that are among the test problems held out, and these."""
    loader = MathDatasetLoader()
    held_out = sample_problems(loader.load_math_dataset("test"), validation_limit)
    validation = DataPreprocessor().preprocess(held_out).problems
    index = EvaluationIndex(problem.problem for problem in validation)
    training = DataPreprocessor().preprocess(loader.load_math_dataset("train")).problems
    return [problem for problem in training if not index.matches(problem.problem)], validation


def repeated(problems: Sequence[MathProblem], number: int, seed: int) -> list[MathProblem]:
    """The first ``number`` problems of one shuffled pass over the set after another."""
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(len(problems)) for _ in range(-(-number // len(problems)))])
    return [problems[int(row)] for row in order[:number]]


# ---------------------------------------------------------------------------------------------------------------- ours


class CountedDataset(MathDataset):
    """Tells the gate what is in each batch that it makes."""

    gate: Gate

    def batch(self, rows: Sequence[int]) -> Batch:
        batch = super().batch(rows)
        inside = batch["input_ids"] != self.tokenizer.pad_id
        documents = int(batch["document_ids"].amax(1).add(1).sum()) if "document_ids" in batch else len(rows)
        # A document's last token is a target only: it is no input.
        self.gate.batch(Work(documents, int(inside.sum()) + documents, int((batch["targets"] != IGNORED).sum())))
        return batch


class GateSink:
    """Takes the rows of metrics that our Trainer writes, one a step."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def log(self, row: dict[str, Any]) -> None:
        if "loss" in row:
            self.gate.step()

    def rewind(self, step: int) -> None:
        pass

    def close(self) -> None:
        pass


def training_options(learning_rate: float, optimizer: str) -> TrainingOptions:
    """Our options; Muon takes AdamW's learning rate, as its steps are scaled to AdamW's."""
    return TrainingOptions.model_validate({"optimizer": {"kind": optimizer, "learning_rate": learning_rate}})


def counted_dataset(plan: Plan, gate: Gate, packing: bool) -> CountedDataset:
    """The plan's documents; where it says how many steps, as many of them as fill these."""
    problems: Sequence[MathProblem] = plan.problems
    if plan.steps is not None:
        whole = MathDataset(plan.problems, MathTokenizer(), CONTEXT, packing=packing)
        rows = plan.steps * ROWS
        problems = repeated(
            problems,
            round(rows * len(problems) / len(whole)),  # of all problems, those too long included
            plan.seed,
        )
    dataset = CountedDataset(problems, MathTokenizer(), CONTEXT, packing=packing)
    dataset.gate = gate
    return dataset


def run_ours(plan: Plan, gate: Gate, packing: bool = True, optimizer: str = "adamw") -> dict[str, torch.Tensor]:
    from rich.console import Console

    from olympiad.training.console import RunConsole
    from olympiad.training.trainer import Trainer

    options = training_options(plan.learning_rate, optimizer)
    dataset = counted_dataset(plan, gate, packing)
    loader = create_dataloader(dataset, ROWS, seed=plan.seed)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        gate.before_model()
        model = MathTransformerDecoder(get_small_config(), seed=plan.seed)
        console = RunConsole(Console(file=nowhere))
        trainer = Trainer(model, loader, None, options, folder, "cpu", [GateSink(gate)], console)
        gate.start(len(loader) if plan.steps else FOREVER)
        trainer.train(1 if plan.steps else FOREVER)
    return model.state_dict()


# --------------------------------------------------------------------------------------------------------------- peers


def llama(seed: int) -> Any:
    """Transformers' Llama of the small model's shape, with its own initial weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config, tokenizer = get_small_config(), MathTokenizer()
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_sequence_length,
            rms_norm_eps=config.rms_norm_eps,
            pad_token_id=tokenizer.pad_id,
            bos_token_id=tokenizer.begin_id,
            eos_token_id=tokenizer.end_id,
            use_cache=False,
        )
    ).train()


def as_ours(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of Transformers' Llama under our names."""
    return {name.removeprefix("model."): value for name, value in state.items()}


def transformers_tokenizer() -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from olympiad.tokenizer import special

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(MathTokenizer().json),
        pad_token=special.PAD,
        bos_token=special.BEGIN,
        eos_token=special.END,
        padding_side="right",
        model_max_length=CONTEXT,
    )


def transformers_dataset(plan: Plan) -> Any:
    """The same documents as a Hugging Face data set of ``input_ids`` and ``labels``."""
    import datasets

    datasets.disable_progress_bars()
    ours = MathDataset(plan.problems, MathTokenizer(), CONTEXT)
    documents = [ours[row] for row in range(len(ours))]
    labels = [[token if mask else IGNORED for token, mask in zip(d.ids, d.loss_mask, strict=True)] for d in documents]
    return datasets.Dataset.from_dict({"input_ids": [document.ids for document in documents], "labels": labels})


def padded_work(inputs: dict[str, Any]) -> Work:
    tokens = inputs["attention_mask"]
    return Work(len(tokens), int(tokens.sum()), int((inputs["labels"][:, 1:] != IGNORED).sum()))


def flat_work(inputs: dict[str, Any]) -> Work:
    """TRL packs a batch into one row, whose documents begin at position 0."""
    documents = int((inputs["position_ids"] == 0).sum())
    return Work(documents, inputs["input_ids"].numel(), int((inputs["labels"][:, 1:] != IGNORED).sum()))


def gated(trainer_class: Any, gate: Gate, work_of: Callable[[dict[str, Any]], Work]) -> Any:
    """``trainer_class``, telling the gate what it trains on and stopping at it after each step."""
    from transformers import TrainerCallback

    class AtGate(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            gate.step(batches=args.gradient_accumulation_steps)

    class Gated(trainer_class):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named, callbacks=[AtGate()])

        def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            gate.batch(work_of(inputs))
            return super().training_step(model, inputs, *rest, **named)

    return Gated


def peer_arguments(plan: Plan, folder: str) -> dict[str, Any]:
    """What is no default: no files, no output, how long, and our schedule where the plan wants it."""
    steps = plan.steps or FOREVER
    arguments = {"output_dir": folder, "max_steps": steps, "use_cpu": True, "seed": plan.seed}
    arguments |= {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": False}
    if plan.as_ours:
        arguments |= {
            "learning_rate": plan.learning_rate,
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
            "warmup_steps": max(round(0.05 * steps), 1),
            "weight_decay": 0.1,
            "adam_beta2": 0.95,
        }
    return arguments


def run_transformers(plan: Plan, gate: Gate, batch_size: int | None = None) -> dict[str, torch.Tensor]:
    import transformers

    transformers.logging.set_verbosity_error()
    dataset, tokenizer = transformers_dataset(plan), transformers_tokenizer()
    size = {} if batch_size is None else {"per_device_train_batch_size": batch_size}
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(**peer_arguments(plan, folder), **size)
        gate.before_model()
        model = llama(plan.seed)
        trainer = gated(transformers.Trainer, gate, padded_work)(
            model,
            arguments,
            train_dataset=dataset,
            data_collator=transformers.DataCollatorForSeq2Seq(tokenizer),
            processing_class=tokenizer,
        )
        gate.start(plan.steps or FOREVER)
        trainer.train()
    return as_ours(model.state_dict())


def run_trl(plan: Plan, gate: Gate, accumulate: bool = False) -> dict[str, torch.Tensor]:
    import transformers
    import trl

    transformers.logging.set_verbosity_error()
    dataset, tokenizer = transformers_dataset(plan), transformers_tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.SFTConfig(
            **peer_arguments(plan, folder),
            per_device_train_batch_size=1 if accumulate else ROWS,
            gradient_accumulation_steps=ROWS if accumulate else 1,
            max_length=CONTEXT,
            packing=True,
            bf16=False,
            gradient_checkpointing=False,
        )
        gate.before_model()
        model = llama(plan.seed)
        trainer = gated(trl.SFTTrainer, gate, flat_work)(model, arguments, train_dataset=dataset, processing_class=tokenizer)
        gate.start(plan.steps or FOREVER)
        trainer.train()
    return as_ours(model.state_dict())


def plain_loop(plan: Plan, gate: Gate, dataset: CountedDataset, model: Any, mean_loss: Callable[[Batch], torch.Tensor]) -> None:
    """The shortest loop that trains: our packed batches in our order, fused AdamW, clipping."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    loader = create_dataloader(dataset, ROWS, seed=plan.seed)
    gate.start(FOREVER)
    while True:
        for batch in loader:
            loss = mean_loss(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()  # what a loop would log
            gate.step()


def run_litgpt(plan: Plan, gate: Gate) -> None:
    try:
        from litgpt.config import Config
        from litgpt.model import GPT
        from litgpt.utils import chunked_cross_entropy
    except ModuleNotFoundError as error:  # in no extra: it pins a huggingface_hub that Transformers 5 is too new for
        raise SystemExit(
            f"{error}: pip install lightning 'jsonargparse[signatures]' and pip install --no-deps litgpt"
        ) from None

    dataset, config = counted_dataset(plan, gate, packing=True), get_small_config()
    gate.before_model()
    torch.manual_seed(plan.seed)
    model = GPT(
        Config(
            block_size=CONTEXT,
            vocab_size=config.vocab_size,
            padded_vocab_size=config.vocab_size,
            n_layer=config.num_hidden_layers,
            n_head=config.num_attention_heads,
            n_embd=config.hidden_size,
            intermediate_size=config.intermediate_size,
            mlp_class_name="LLaMAMLP",
            norm_class_name="RMSNorm",
            norm_eps=config.rms_norm_eps,
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
        )
    )
    model.apply(model._init_weights)

    def mean_loss(batch: Batch) -> torch.Tensor:
        return chunked_cross_entropy(model(batch["input_ids"]), batch["targets"], chunk_size=0)

    plain_loop(plan, gate, dataset, model, mean_loss)


def run_llama(plan: Plan, gate: Gate) -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    dataset = counted_dataset(plan, gate, packing=True)
    gate.before_model()
    model = llama(plan.seed)

    def mean_loss(batch: Batch) -> torch.Tensor:
        inputs = batch["input_ids"]
        return model(
            input_ids=inputs, position_ids=batch["position_ids"], labels=inputs, shift_labels=batch["targets"]
        ).loss  # shift_labels: targets as they are

    plain_loop(plan, gate, dataset, model, mean_loss)


Run = Callable[[Plan, Gate], "dict[str, torch.Tensor] | None"]


def run_side(name: str, plan: Plan, gate: Gate) -> dict[str, torch.Tensor] | None:
    """Train as side ``name`` does; its weights under our names, if it comes to its end."""
    kind, _, variant = name.partition("-")
    if kind == "ours":
        return run_ours(plan, gate, packing=variant != "unpacked", optimizer="muon" if variant == "muon" else "adamw")
    if kind == "hf":
        return run_transformers(plan, gate, int(variant) if variant else None)
    if kind == "trl":
        return run_trl(plan, gate, accumulate=variant == "rows")
    runs: dict[str, Run] = {"litgpt": run_litgpt, "llama": run_llama}
    return runs[name](plan, gate)


# ---------------------------------------------------------------------------------------------------------- processes


@torch.no_grad()
def bits_per_byte(model: MathTransformerDecoder, problems: Sequence[MathProblem]) -> float:
    """Loss over the targets of ``problems`` (solutions and answers with their marks) per byte of their text, in bits.

    Problems that do not fit into the context are left out.
    """
    dataset = MathDataset(problems, MathTokenizer(), CONTEXT)
    kept = set(dataset.problem_ids)
    num_bytes = sum(len((problem.solution + problem.answer).encode()) for problem in problems if problem.id in kept)
    nats, model = 0.0, model.eval()
    for start in range(0, len(dataset), ROWS):
        batch = dataset.batch(range(start, min(start + ROWS, len(dataset))))
        total, _ = next_token_loss(model.hidden_states(batch["input_ids"]), model.output_weight, batch["targets"])
        nats += float(total)
    return nats / math.log(2) / num_bytes


def child(name: str, plan: Plan, threads: int, pipe: Connection) -> None:
    """One process: train, turn by turn; at the end send peak memory and, of a finished run, bits per byte."""
    torch.set_num_threads(threads)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (of the process, until its end)
    gate, weights = Gate(pipe), None
    with suppress(Stopped):
        weights = run_side(name, plan, gate)
    result: dict[str, float] = {"peak_bytes": gate.peak()}
    if weights is not None and plan.validation:
        model = MathTransformerDecoder(get_small_config())
        model.load_state_dict(weights)
        result["bits_per_byte"] = bits_per_byte(model, plan.validation)
    pipe.send(result)


class Side:
    """A running side, seen from the benchmark."""

    def __init__(self, name: str, plan: Plan, threads: int) -> None:
        context = mp.get_context("spawn")
        self.name, (self._pipe, there) = name, context.Pipe()
        self._process = context.Process(target=child, args=(name, plan, threads, there), daemon=True)
        self._process.start()
        there.close()
        self.total_steps: int = self._receive()

    def turn(self, steps: int) -> Chunk:
        self._pipe.send(steps)
        return self._receive()

    def end(self) -> dict[str, float]:
        """Stop it, or let it go on to its end after its last step; ``peak_bytes``, and ``bits_per_byte`` of a finished run."""
        self._pipe.send(None)
        result = self._receive()
        self._process.join()
        return result

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise SystemExit(f"the side {self.name!r} has failed: see its message above") from None
