"""SmolLM2-135M-Instruct through three backends: our engine, Transformers, llama.cpp's server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import smollm2_file
from made import task

from olympiad.evaluation import create_backend, write_reports
from olympiad.evaluation.endpoint import EndpointOptions
from olympiad.evaluation.runner import EvaluationOptions, run_evaluation, settings_of
from olympiad.interop import load_gguf, save_gguf

SERVER = """
import sys, xllamacpp
options = xllamacpp.CommonParams()
options.model.path, options.n_ctx, options.n_gpu_layers, options.n_parallel = sys.argv[1], 1024, 0, 2
options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
options.verbosity, options.warmup = -1, False
options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it computes in float16
options.cache_type_k = options.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(options)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def model() -> Path:
    for needed in ("gguf", "accelerate"):
        pytest.importorskip(needed)
    return smollm2_file()


@pytest.fixture(scope="module")
def endpoint(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The model, read and written by us, behind llama.cpp's own server."""
    pytest.importorskip("xllamacpp")
    file = tmp_path_factory.mktemp("exported") / "smollm2.gguf"
    save_gguf(*load_gguf(model), file)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVER, str(file)], **pipes) as server:  # type: ignore[call-overload]
        try:
            yield server.stdout.readline().strip() + "/v1"
        finally:
            server.kill()


@pytest.mark.slow
def test_three_backends_give_one_score(model: Path, endpoint: str, tmp_path: Path) -> None:
    """Guards against a prompt, a template, an end of text or a judge that differs between the ways to ask a model."""
    problems, options = task(8), EvaluationOptions(max_new_tokens=80)
    answers = {}
    for name, extra in (
        ("engine", {}),
        ("transformers", {"batch_size": 3}),
        ("openai", {"endpoint": EndpointOptions(url=endpoint, concurrency=2)}),
    ):
        backend = create_backend(name, str(model), **extra)
        assert backend.default_style == "chat"
        settings = settings_of(str(model), name, "chat", [problems], options)
        rows = run_evaluation(tmp_path / name, backend, [problems], settings, options)
        answers[name] = [(row["text"], row["finish_reason"], row["answer"], row["verdict"]) for row in rows]
        assert {row["finish_reason"] for row in rows} == {"stop", "length"}
        assert write_reports(tmp_path / name)["sums"]["answers"] == 8
    assert answers["engine"] == answers["transformers"] == answers["openai"]
