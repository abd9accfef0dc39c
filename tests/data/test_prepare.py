"""``olympiad data prepare``: whatever happens on the way, the same bytes come out, or a clear error and nothing lost."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from olympiad.cli import main
from olympiad.config import ConfigError, parse_recipe
from olympiad.data import DataError, TokenDataset
from olympiad.data.documents import MANIFEST
from olympiad.data.mixture import MixtureOptions
from olympiad.data.prepare import prepare
from olympiad.data.recipe import PrepareOptions
from olympiad.data.show import load_prepared, open_documents

EVALUATION = "A train leaves the station at noon and travels east at {} miles per hour for three hours. How far does it go?"


def problem(number: int) -> dict[str, Any]:
    """Problems of different length, no two alike."""
    words = " ".join(
        f"box {number * 7 + k} holds {number + 3 * k} red and {2 * k + 1} blue balls," for k in range(1 + number % 5)
    )
    total = sum(number + 5 * k + 1 for k in range(1 + number % 5))
    return {
        "question": f"In game {number} {words} and nothing is left over. How many balls are there in all?",
        "solution": f"We add them up and find $\\boxed{{{total}}}$ balls.",
        "answer": total,
    }


ROWS: list[Any] = [
    *(problem(number) for number in range(60)),
    problem(3),  # a duplicate
    {**problem(4), "question": problem(4)["question"].replace("How many balls", "how  many balls").upper()},
    {"question": EVALUATION.format(60), "solution": r"$\boxed{180}$", "answer": "180"},
    {"question": "Too short", "answer": "1", "solution": "1"},
    {"question": None, "answer": 1, "solution": ""},
    {"question": problem(70)["question"], "answer": 5, "solution": r"It is $\boxed{6}$."},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "{broken\n")
    (tmp_path / "test.jsonl").write_text(json.dumps({"problem": EVALUATION.format(60)}) + "\n")
    texts = [f"Theorem {n}. " + "The sum of two even numbers is even, and so is their product. " * (5 + n) for n in range(9)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return tmp_path


def options(folder: Path, **changes: Any) -> PrepareOptions:
    tree: dict[str, Any] = {
        "evaluate": [str(folder / "test.jsonl")],
        "sources": {
            "games": {
                "files": [str(folder / "set.jsonl")],
                "fields": {"problem": "question"},
                "licence": "MIT",
            },
            "notes": {"files": [str(folder / "notes.jsonl")], "kind": "text"},
        },
    }
    return parse_recipe(tree | changes, "recipe")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.name != ".lock"}


def test_every_row_is_in_or_counted(folder: Path) -> None:
    """A row that vanishes without a reason; contaminated or repeated problems among the tokens."""
    manifest = prepare(options(folder), folder / "out", workers=0)
    games, notes = manifest["sources"]["games"], manifest["sources"]["notes"]
    assert games["rows"] == len(ROWS) + 1
    assert notes["rows"] == 9
    for source in (games, notes):
        assert source["rows"] == source["documents"] + sum(source["rejected"].values())
    expected = {"unreadable": 2, "duplicate": 2, "contaminated": 1, "short_problem": 1, "answer_disagrees": 1}
    assert games["rejected"] == expected
    assert games["documents"] == 60
    assert all(len(games["examples"][reason]) == count for reason, count in expected.items())
    documents, tokenizer, _ = open_documents(folder / "out")
    texts = [tokenizer.decode(documents[row][0].tolist()) for row in range(len(documents.lengths))]
    assert len(set(texts)) == 60 + notes["documents"]
    assert not any("train leaves" in text for text in texts)
    assert problem(11)["question"] in texts[11]
    assert texts[11].endswith("<|end|>")
    (hit,) = [json.loads(line) for line in (folder / "out" / "hits.jsonl").read_text().splitlines()]
    assert hit["text"] == hit["evaluate_text"]
    assert (hit["rule"], hit["score"], hit["row"]) == ("exact", 1.0, 63)


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_workers_parts_or_engine(folder: Path) -> None:
    """Shards in the order in which workers happened to finish; a row lost where a file is cut; Ray's own order."""
    chosen = options(folder)
    reference = prepare(chosen, folder / "a", workers=0, part_bytes=2_000)
    prepare(chosen, folder / "b", workers=2, part_bytes=2_000)
    prepare(chosen, folder / "c", workers=2, engine="ray", part_bytes=2_000)
    assert contents(folder / "a") == contents(folder / "b") == contents(folder / "c")
    whole = prepare(chosen, folder / "d", workers=0)
    assert whole["sources"]["games"]["shards"] == reference["sources"]["games"]["shards"]


KILLER = """
    import os, random, signal, sys, time
    from pathlib import Path
    from olympiad.config import load_recipe
    from olympiad.data.prepare import prepare

    recipe, out, kills = load_recipe(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

    def start(folder):
        pid = os.fork()
        if pid == 0:
            prepare(recipe, folder, workers=0, part_bytes=1_000)
            os._exit(0)
        return pid

    begun = time.monotonic()
    assert os.waitpid(start(out / "whole"), 0)[1] == 0
    seconds, random = time.monotonic() - begun, random.Random(0)
    killed = 0
    while killed < kills:
        pid = start(out / "killed")
        time.sleep(random.random() * seconds)
        os.kill(pid, signal.SIGKILL)
        killed += os.waitpid(pid, 0)[1] == signal.SIGKILL
        if (out / "killed" / "manifest.json").exists():  # done in spite of all: from the start again
            assert os.waitpid(start(out / "killed"), 0)[1] == 0  # nothing to do but to clear up
            os.rename(out / "killed", out / f"done-{time.monotonic_ns()}")
    assert os.waitpid(start(out / "killed"), 0)[1] == 0
"""


@pytest.mark.slow
def test_killed_at_20_random_moments(folder: Path) -> None:
    """A part, a shard or a manifest that is taken for whole when it was half written."""
    recipe = folder / "recipe.toml"
    files = {name: folder / name for name in ("set.jsonl", "notes.jsonl", "test.jsonl")}
    recipe.write_text(
        f'evaluate = ["{files["test.jsonl"]}"]\n[sources.games]\nfiles = ["{files["set.jsonl"]}"]\nfields = {{problem = "question"}}\n'
        f'[sources.notes]\nfiles = ["{files["notes.jsonl"]}"]\nkind = "text"\n'
    )
    command = [sys.executable, "-c", textwrap.dedent(KILLER), str(recipe), str(folder / "out"), "20"]
    subprocess.run(command, check=True, timeout=300)
    whole = contents(folder / "out" / "whole")
    assert MANIFEST in whole
    for done in (folder / "out").iterdir():
        assert contents(done) == whole


def test_goes_on_with_the_parts_that_are_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that begins from nothing after an interruption."""
    from olympiad.data.parts import Cleaner

    done: list[int] = []
    original = Cleaner.__call__

    def counted(self: Cleaner, task: Any) -> Any:
        if len(done) == 3:
            done.append(-1)
            raise KeyboardInterrupt
        done.append(task.number)
        return original(self, task)

    monkeypatch.setattr(Cleaner, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        prepare(options(folder), folder / "out", workers=0, part_bytes=2_000)
    with pytest.raises(DataError, match=r"no manifest.json \(it was begun"):
        open_documents(folder / "out")
    prepare(options(folder), folder / "out", workers=0, part_bytes=2_000)
    assert done[:3] == [0, 1, 2]
    assert done[4] == 3
    assert sorted(set(done[4:])) == done[4:]
    prepare(options(folder), folder / "whole", workers=0, part_bytes=2_000)
    assert contents(folder / "out") == contents(folder / "whole")


def test_another_mixture_needs_no_new_tokens(folder: Path) -> None:
    """All tokens made again where only the proportions changed, or the old proportions kept."""
    prepare(options(folder), folder / "out", workers=0)
    before = (folder / "out" / "games-00000.tokens").stat().st_mtime_ns
    chosen = options(folder)
    sources = {**chosen.sources, "games": chosen.sources["games"].model_copy(update={"epochs": 2.0})}
    manifest = prepare(chosen.model_copy(update={"sources": sources}), folder / "out", workers=0)
    assert manifest["mixture"]["games"]["epochs"] == 2.0
    assert (folder / "out" / "games-00000.tokens").stat().st_mtime_ns == before
    _, shares, _ = load_prepared(folder / "out", 4096)
    assert [len(share.instances) for share in shares] == [120, manifest["sources"]["notes"]["documents"]]


@pytest.mark.parametrize("stage", ["finished", "begun"])
def test_what_changed_is_noticed(folder: Path, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old tokens of a source, an evaluation set, a tokenizer or options that are not what they were."""
    if stage == "begun":
        monkeypatch.setattr("olympiad.data.prepare.Merger.run", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(options(folder), folder / "out", workers=0)
        monkeypatch.undo()
    else:
        prepare(options(folder), folder / "out", workers=0)
    with pytest.raises(DataError, match=r"near_duplicates was 0.8 and is 0.5"):
        prepare(options(folder, near_duplicates=0.5), folder / "out", workers=0)
    with (folder / "set.jsonl").open("a") as file:
        file.write(json.dumps(problem(99)) + "\n")
    with pytest.raises(DataError, match=r"games \(.*set.jsonl\) changed.*--restart"):
        prepare(options(folder), folder / "out", workers=0)
    manifest = prepare(options(folder), folder / "out", workers=0, restart=True)
    assert manifest["sources"]["games"]["documents"] == 61
    prepare(options(folder), folder / "new", workers=0)
    assert contents(folder / "out") == contents(folder / "new")


@pytest.mark.parametrize(("change", "message"), [("append", "changed while it was read"), ("unlink", "can't read|disappeared")])
def test_source_that_changes_midway(folder: Path, change: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of a file that was another one when its parts were made."""
    from olympiad.data import prepare as module

    original = module.is_done

    def changed(*arguments: Any) -> bool:
        file = folder / "set.jsonl"
        file.unlink() if change == "unlink" else file.write_text(file.read_text() + json.dumps(problem(99)))
        return original(*arguments)

    monkeypatch.setattr(module, "is_done", changed)
    with pytest.raises(DataError, match=message):
        prepare(options(folder), folder / "out", workers=0)
    assert not (folder / "out" / MANIFEST).exists()


def test_two_processes_one_folder(folder: Path) -> None:
    """Two runs that write into each other's parts."""
    (folder / "out").mkdir()
    with (
        filelock.FileLock(folder / "out" / ".lock", timeout=0),
        pytest.raises(DataError, match="another process is preparing"),
    ):
        prepare(options(folder), folder / "out", workers=0)
    failures: list[DataError] = []

    def run() -> None:
        try:
            prepare(options(folder), folder / "out", workers=0)
        except DataError as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) < 3
    assert open_documents(folder / "out")[2]["sources"]["games"]["documents"] == 60


def test_disk_full(folder: Path) -> None:
    """A traceback, or a cut file taken for whole, where there is no room left."""
    code = f"""
        import resource, signal, sys
        from olympiad.cli import main
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        sys.exit(main(["data", "prepare", "{folder}/recipe.toml", "--out", "{folder}/out", "--workers", "0"]))
    """
    (folder / "recipe.toml").write_text(
        f'evaluate = []\n[sources.games]\nfiles = ["{folder}/set.jsonl"]\nfields = {{problem = "question"}}\n'
    )
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "error: no room left to write" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "out" / MANIFEST).exists()
    assert main(["data", "prepare", f"{folder}/recipe.toml", "--out", f"{folder}/out", "--workers", "0"]) == 0


def test_files_that_end_too_early(folder: Path) -> None:
    """A set of which a part is trained on, because its download broke off."""
    whole = gzip.compress((folder / "set.jsonl").read_bytes())
    (folder / "set.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    sources = {
        "games": {
            "files": [str(folder / "set.jsonl.gz")],
            "fields": {"problem": "question"},
        }
    }
    with pytest.raises(DataError, match=r"set\.jsonl\.gz"):
        prepare(options(folder, sources=sources), folder / "out", workers=0)
    (folder / "set.jsonl.gz").write_bytes(whole)
    manifest = prepare(options(folder, sources=sources), folder / "out", workers=0, restart=True)
    assert manifest["sources"]["games"]["documents"] == 60


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"mth": {}}, "mth"),
        ({"games": {"files": ["nowhere/*.jsonl"]}}, "nowhere"),
        ({"math": {"split": "dev"}}, "no split 'dev'"),
        ({"games": {"files": ["SET"], "fields": {"problem": "text"}}}, "nothing is left of games.*unreadable"),
    ],
)
def test_sources_that_are_not_there(folder: Path, sources: dict[str, Any], message: str) -> None:
    """A mixture that silently goes without one of its sources."""
    for source in sources.values():
        source["files"] = [str(folder / "set.jsonl") if file == "SET" else file for file in source.get("files", ())]
    with pytest.raises(DataError, match=message):
        prepare(options(folder, sources=sources).model_copy(update={"folder": folder}), folder / "out", workers=0)


def test_a_damaged_folder_is_refused(folder: Path) -> None:
    """Half a shard that is read to its end as if it were whole."""
    prepare(options(folder), folder / "out", workers=0)
    tokens = folder / "out" / "games-00000.tokens"
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"games-00000.tokens has .* the manifest says"):
        open_documents(folder / "out")
    tokens.unlink()
    with pytest.raises(DataError, match=r"games-00000.tokens is missing"):
        open_documents(folder / "out")


def test_what_is_loaded(folder: Path) -> None:
    """Wrong documents of a shard, a mixture with a name that is not there, packed rows that differ in another process."""
    prepare(options(folder), folder / "out", workers=0)
    dataset, _, _ = load_prepared(folder / "out", 300, packing=True)
    names = [name for row in range(len(dataset)) for name in dataset.names(row)]
    assert len(names) == len(set(names)) == dataset.num_documents > 60
    import pickle

    copy: TokenDataset = pickle.loads(pickle.dumps(dataset))
    rows = list(range(len(dataset)))
    assert all(np.array_equal(copy.batch(rows)[key], dataset.batch(rows)[key]) for key in ("input_ids", "targets"))  # type: ignore[literal-required]
    assert copy.fingerprint == dataset.fingerprint
    with pytest.raises(DataError, match="no source 'game'; did you mean 'games'"):
        load_prepared(folder / "out", 300, mixture={"game": MixtureOptions(weight=1)})


def stopped_after(parts: int, monkeypatch: pytest.MonkeyPatch, *arguments: Any, **options: Any) -> None:
    """Prepare, stopped when so many parts are done."""
    from olympiad.data.parts import Cleaner

    original, done = Cleaner.__call__, []

    def counted(self: Cleaner, task: Any) -> Any:
        if len(done) == parts:
            raise KeyboardInterrupt
        done.append(task.number)
        return original(self, task)

    with monkeypatch.context() as patch:
        patch.setattr(Cleaner, "__call__", counted)
        with pytest.raises(KeyboardInterrupt):
            prepare(*arguments, workers=0, **options)


def test_the_order_of_sources_is_part_of_the_plan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one source taken for those of another, since a resumed recipe names them in another order."""
    stopped_after(1, monkeypatch, options(folder), folder / "out")
    sources = dict(reversed(options(folder).sources.items()))
    turned = options(folder).model_copy(update={"sources": sources})
    with pytest.raises(DataError, match="the order of the sources changed"):
        prepare(turned, folder / "out", workers=0)
    prepare(turned, folder / "out", workers=0, restart=True)
    prepare(turned, folder / "new", workers=0)
    assert contents(folder / "out") == contents(folder / "new")


def test_killed_while_it_clears_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of the old plan that outlive their plan, taken for those of the new one."""
    stopped_after(2, monkeypatch, options(folder), folder / "out", part_bytes=2_000)
    (plan,) = (folder / "out" / "work").glob("*/plan.json")
    plan.unlink()
    rows = [json.dumps({**problem(n), "solution": r"Now $\boxed{1}$", "answer": 1}) + "\n" for n in range(60)]
    (folder / "set.jsonl").write_text("".join(rows))
    manifest = prepare(options(folder), folder / "out", workers=0, part_bytes=2_000)
    prepare(options(folder), folder / "new", workers=0, part_bytes=2_000)
    assert manifest["sources"]["games"]["documents"] == 60
    assert contents(folder / "out") == contents(folder / "new")


def test_files_of_one_name_are_two_files(folder: Path) -> None:
    """A change that is not seen since another file has the same name and the same folder's name."""
    for year in ("2023", "2024"):
        (folder / year / "data").mkdir(parents=True)
        (folder / year / "data" / "train.jsonl").write_text(json.dumps(problem(int(year) % 100)) + "\n")
    sources = {"games": {"files": [str(folder / "*" / "data" / "train.jsonl")], "fields": {"problem": "question"}}}
    prepare(options(folder, sources=sources), folder / "out", workers=0)
    (folder / "2023" / "data" / "train.jsonl").write_text(json.dumps(problem(50)) + "\n")
    with pytest.raises(DataError, match="changed"):
        prepare(options(folder, sources=sources), folder / "out", workers=0)


def test_files_of_others_are_left_alone(folder: Path) -> None:
    """A restart that deletes what somebody keeps in the folder."""
    (folder / "out").mkdir()
    kept = folder / "out" / "train-00000-of-00001.parquet"
    kept.write_bytes(b"mine")
    for restart in (False, True):
        with pytest.raises(DataError, match="holds other files"):
            prepare(options(folder), folder / "out", workers=0, restart=restart)
    assert kept.read_bytes() == b"mine"


def test_a_damaged_folder_can_be_done_again(folder: Path) -> None:
    """A folder that is refused and that no command repairs."""
    prepare(options(folder), folder / "out", workers=0)
    whole = contents(folder / "out")
    for name, content in (("games-00000.tokens", b""), ("manifest.json", b"{"), ("manifest.json", b'{"format": 0}')):
        (folder / "out" / name).write_bytes(content)
        with pytest.raises(DataError, match="--restart"):
            prepare(options(folder), folder / "out", workers=0)
        prepare(options(folder), folder / "out", workers=0, restart=True)
        assert contents(folder / "out") == whole


def test_proportions_are_of_what_is_trained_on(folder: Path) -> None:
    """Equal weights, and a source that is dropped altogether since its documents are too long."""
    prepare(options(folder), folder / "out", workers=0)
    weights = {name: MixtureOptions(weight=1) for name in ("games", "notes")}
    dataset, shares, _ = load_prepared(folder / "out", 120, mixture=weights)
    assert dataset.num_overlong > 0
    tokens = {"games": 0, "notes": 0}
    for row in range(len(dataset)):
        tokens[dataset.names(row)[0].split("/")[0]] += len(dataset[row])
    assert all(tokens[share.source] == share.tokens for share in shares)
    assert abs(tokens["games"] - tokens["notes"]) < 150
    with pytest.raises(DataError, match="nothing is left of notes"):
        load_prepared(folder / "out", 70, mixture=weights)
    assert len(load_prepared(folder / "out", 70, mixture={"notes": MixtureOptions(epochs=0)})[1]) == 1


def test_several_shards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents of the second shard read from the first."""
    from olympiad.data import documents, merging

    prepare(options(folder), folder / "one", workers=0)
    monkeypatch.setattr(merging, "ShardWriter", lambda *arguments: documents.ShardWriter(*arguments, shard_tokens=1_000))
    manifest = prepare(options(folder), folder / "many", workers=0, part_bytes=2_000)
    assert len(manifest["sources"]["games"]["shards"]) > 3
    one, many = (open_documents(folder / name)[0] for name in ("one", "many"))
    assert one.lengths.tolist() == many.lengths.tolist()
    for document in range(len(one.lengths)):
        assert one[document][0].tolist() == many[document][0].tolist()
        assert one.row(document) == many.row(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"../evil": {"files": ["x"]}}, "string_pattern|should match pattern"),
        ({"math": {"fields": {"problem": "q"}}}, "files of your own"),
        ({"math": {"weight": 1}, "gsm8k": {}}, "weights are given for math but not for gsm8k"),
    ],
)
def test_recipes_that_can_not_be_meant(folder: Path, change: dict[str, Any], message: str) -> None:
    """Shards outside the folder, options without effect, and a mixture that fails when all is prepared."""
    with pytest.raises(ConfigError, match=message):
        options(folder, sources=change)


def test_recipe_mistakes_come_all_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe that has to be run once for each of its mistakes."""
    (folder / "recipe.toml").write_text("sed = 1\n[sources.math]\nepohcs = 2\nweight = -1\n")
    assert main(["data", "prepare", str(folder / "recipe.toml"), "--out", str(folder / "out")]) == 1
    printed = capsys.readouterr().err
    assert all(part in printed for part in ("did you mean seed?", "did you mean epochs?", "sources.math.weight"))


def test_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tree without counts, a document whose mask can't be told."""
    prepare(options(folder), folder / "out", workers=0)
    assert main(["data", "show", str(folder / "out")]) == 0
    printed = capsys.readouterr().out
    assert "games" in printed
    assert "60 documents of 67 rows" in " ".join(printed.split())
    assert "MIT" in printed
    assert main(["data", "show", str(folder / "out"), "--source", "games", "--row", "2"]) == 0
    printed = capsys.readouterr().out
    assert problem(2)["question"] in printed.replace("\n", " ")
    assert "<|solution|>⟦We add them up" in printed
    assert main(["data", "show", str(folder / "out"), "--row", "999"]) == 1
    assert "expected 0 to" in capsys.readouterr().err
