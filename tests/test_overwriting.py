"""Every verb and recipe that writes, pointed at files of the user's: it refuses, and every byte stays."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from bursts import burst
from conftest import Command
from small_corpus import write_corpus
from small_study import SETTINGS, write_clips

from vocalgen import audio
from vocalgen.cli.main import VERBS, load_verb
from vocalgen.evaluation.run import REPORT
from vocalgen.generation.batch import CLIPS
from vocalgen.ownership import INDEX, FolderKind, own_folder
from vocalgen.rating.export import RATINGS
from vocalgen.tasks.run import BENCHMARK

Arguments = Callable[[Path], list[object]]
"""From a folder of the user's to the arguments of a command that would write there."""

READ_ONLY = {
    "doctor", "info", "data verify", "submission check", "rate invite", "rate serve", "rate codes", "rate report",
    "rate flag", "metrics fid", "metrics fd-infinity", "metrics kad", "metrics kid", "metrics manifold",
    "metrics vendi", "metrics heep", "metrics s-gen", "metrics agreement", "metrics ccc", "metrics pearson",
    "metrics spearman", "metrics mae", "metrics uar", "metrics s-mtl",
}  # fmt: skip
"""Verbs that write no file of their own choice."""

REASONS = r"vocalgen did not write|not written by vocalgen|is there already|recording that is read"
"""Words of a refusal; another mistake in the command would give other words."""

TRAINING = {
    "train_autoencoder.py": "autoencoder.yaml",
    "train_diffusion.py": "diffusion.yaml",
    "train_gan.py": "stylegan2.yaml",
    "train_recogniser.py": "classifier.yaml",
    "train_vocoder.py": "source_filter.yaml",
}
"""Recipes, and a configuration of each."""


def verbs() -> Iterator[str]:
    """Names of all verbs, of groups with the name of their command."""
    for name in VERBS:
        verb = load_verb(name)
        if not hasattr(verb, "commands"):
            yield name
            continue
        for command, inner in verb.commands.items():
            if hasattr(inner, "commands"):
                yield from (f"{name} {command} {each}" for each in inner.commands)
            else:
                yield f"{name} {command}"


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every file, link and folder below `folder`, with content, target and mode."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = path.read_bytes() + oct(path.stat().st_mode).encode()
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with clips, a table of embeddings and a frozen study beside it."""
    from vocalgen.emotions import Vocabulary
    from vocalgen.rating.freeze import create_study

    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    clips = write_clips(folder / "clips")
    create_study(folder / "study", clips, SETTINGS, 3, Vocabulary("small", SETTINGS.emotions))
    np.savez(folder / "e.npz", x=np.zeros((2, 2)))
    return folder


@pytest.fixture
def home(corpus: Path, tmp_path: Path) -> Path:
    """A folder of the user's, in every state that files can have, with names that vocalgen itself would choose."""
    folder = tmp_path / "home"
    for name in ("awe", ".git", "state", "export"):
        (folder / name).mkdir(parents=True)
    precious = [
        "thesis.txt", ".hidden", ".git/HEAD", "awe/awe-3.wav", "awe-0.wav", "awe-0.png", "000.wav", "config.yaml",
        "report.md", "report.json", "report.html", "mels-mine.png", "run.json", "manifest.jsonl", "model_index.json",
        "config.json", "index.json", "audio.i16", "latents.npy", "key", "metrics.jsonl", "ratings_long.csv",
        "targets.csv", "made.csv", "made.report.json", "e.npz", "figure.png", "shard-00000.tar", "made-of.json",
        "predictions.safetensors", "state/step-1", "export/config.json", "study.yaml", "comparison.json",
    ]  # fmt: skip
    for name in precious:
        (folder / name).write_text(f"precious {name}")
    audio_file = folder / "laugh.wav"
    shutil.copyfile(next((corpus / "clips" / "awe").iterdir()), audio_file)
    (tmp_path / "outside.txt").write_text("outside")
    for name in ("link", "link.wav", "link.npz", "link.csv", "link.png"):
        (folder / name).symlink_to(tmp_path / "outside.txt")
    (folder / "awe" / "awe-3.wav").chmod(0o400)
    return folder


def cases(corpus: Path, checkpoint: Path, gan: Path) -> dict[str, list[Arguments]]:
    """By verb, commands that would replace or remove something of the user's."""
    model, manifest = ["--checkpoint", checkpoint, "--device", "cpu"], corpus / "manifest.csv"
    clips = corpus / "clips"
    prepare = ["--no-verify", "--out"]
    return {
        "sample": [
            lambda home: ["sample", "-e", "awe", *model, "--out", home],
            lambda home: ["sample", "-e", "awe", *model, "--out", home / "awe-0.wav"],
            lambda home: ["sample", "-e", "awe", *model, "--out", home / "link.wav"],
            lambda home: ["sample", "-e", "awe", "--seed", 1, *model, "--plot", "--out", home / "awe-0.wav"],
        ],
        "generate": [lambda home: ["generate", "-e", "awe", *model, "--per-emotion", 1, "--out", home]],
        "interpolate": [
            lambda home: ["interpolate", "--from", "awe", "--to", "fear", "-n", 2, *model, "--out", home],
            lambda home: ["interpolate", "--from", "awe", "--to", "fear", *model, "--out", home / "awe-0.wav"],
        ],
        "invert": [
            lambda home: ["invert", home / "laugh.wav", "-e", "awe", "--checkpoint", gan, "--steps", 1, "--out", home],
            lambda home: ["invert", home / "laugh.wav", "-e", "awe", "--checkpoint", gan, "--overwrite", "-o", home],
        ],
        "embed": [
            lambda home: ["embed", clips, "--out", home / "e.npz", "--device", "cpu"],
            lambda home: ["embed", clips, "--out", home / "link.npz", "--device", "cpu"],
        ],
        "classify": [
            lambda home: ["classify", home / "laugh.wav", "-m", "emogator-classifier-24k", "-o", home / "link.csv"],
            lambda home: ["classify", home / "laugh.wav", "-m", "emogator-classifier-24k", "-o", home / "made.csv"],
        ],
        "evaluate": [lambda home: ["evaluate", clips, "--reference", manifest, "--out", home]],
        "benchmark": [
            lambda home: [
                "benchmark",
                "emogator",
                "--data",
                manifest,
                "--system",
                "mlp",
                "--encoder",
                "log-mel",
                "-o",
                home,
            ]
        ],
        "data prepare folder": [
            lambda home: ["data", "prepare", "folder", clips, *prepare, home / "made.csv"],
            lambda home: ["data", "prepare", "folder", clips, *prepare, home / "link.csv"],
        ],
        "data prepare emogator": [lambda home: ["data", "prepare", "emogator", clips, *prepare, home / "made.csv"]],
        "data prepare hume-vocalburst": [
            lambda home: ["data", "prepare", "hume-vocalburst", clips, *prepare, home / "made.csv"]
        ],
        "data prepare hume-prosody": [
            lambda home: ["data", "prepare", "hume-prosody", clips, *prepare, home / "made.csv"]
        ],
        "data prepare modulate-sonata": [
            lambda home: [
                "data",
                "prepare",
                "modulate-sonata",
                clips,
                "--mapping",
                corpus / "x",
                *prepare,
                home / "made.csv",
            ]
        ],
        "data prepare modulate-stream": [
            lambda home: ["data", "prepare", "modulate-stream", clips, "--table", corpus / "t.tsv", "--out", home]
        ],
        "data features": [],  # below: what is beside a manifest
        "data stats": [
            lambda home: ["data", "stats", manifest, "--figure", home / "figure.png"],
            lambda home: ["data", "stats", manifest, "--figure", home / "link.png"],
        ],
        "metrics statistics": [lambda home: ["metrics", "statistics", corpus / "e.npz", "--out", home / "e.npz"]],
        "rate new": [lambda home: ["rate", "new", home, "--clips", clips, "--per-emotion", 1]],
        "rate export": [lambda home: ["rate", "export", corpus / "study", "--out", home]],
    }


def test_every_verb_is_walked(corpus: Path, debug_checkpoint: Path) -> None:
    assert set(verbs()) == READ_ONLY | set(cases(corpus, debug_checkpoint, debug_checkpoint))


@pytest.mark.parametrize("verb", sorted(cases(Path(), Path(), Path())))
def test_a_verb_keeps_files_of_other_origin(
    verb: str, corpus: Path, home: Path, debug_checkpoint: Path, debug_gan: Path, command: Command
) -> None:
    before, words = snapshot(home.parent), re.compile(REASONS)
    for arguments in cases(corpus, debug_checkpoint, debug_gan)[verb]:
        ran = command(*arguments(home))
        assert ran.code == 2 and ran.err.startswith("error: ") and words.search(ran.err), (verb, ran)
        assert snapshot(home.parent) == before, verb


@pytest.mark.parametrize("script", sorted(TRAINING))
@pytest.mark.parametrize("setting", ["loop.run", "data.cache", "latents"])
def test_a_recipe_keeps_files_of_other_origin(
    script: str,
    setting: str,
    corpus: Path,
    home: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if setting == "latents" and script not in ("train_diffusion.py", "train_gan.py"):
        pytest.skip("this recipe has no latents")
    before = snapshot(home)
    places = {"loop.run": home.parent / "run", "data.cache": corpus / "cache", setting: home}
    if script in ("train_diffusion.py", "train_gan.py"):
        places["autoencoder"] = root / "checkpoints" / "emogator-diffusion-24k" / "autoencoder"
    elif script == "train_vocoder.py":
        places["autoencoder"] = "null"
    if script == "train_gan.py":
        places["scorer"] = "null"
    overrides = [f"{name}={place}" for name, place in places.items()]
    recipe = root / "recipes" / "emogator" / TRAINING[script]
    monkeypatch.setattr(
        sys, "argv", [script, str(recipe), f"data.manifest={corpus / 'manifest.csv'}", "loop.steps=1", *overrides]
    )
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(root / "recipes" / script), run_name="__main__")
    assert stopped.value.code == 2 and "which vocalgen did not write" in capsys.readouterr().err
    assert snapshot(home) == before


def test_a_folder_with_the_name_of_a_cache_is_kept(corpus: Path, tmp_path: Path, command: Command) -> None:
    """Recordings in X-24k beside X.csv, with clips that all verbs which read a manifest would cache there."""
    shutil.copyfile(corpus / "manifest.csv", corpus / "mine.csv")
    for name in ("mine-24k", "mine-16k", "mine-features", "mine-measured"):
        audio.write(corpus / name / "awe" / "1.wav", burst(0, 0.3, 8000), 8000)
    before = {name: snapshot(corpus / name) for name in ("mine-24k", "mine-16k", "mine-features", "mine-measured")}
    manifest = corpus / "mine.csv"
    commands: list[list[object]] = [
        ["embed", manifest, "--split", "train", "--out", tmp_path / "e.npz", "--device", "cpu"],
        ["data", "features", manifest, "--encoder", "log-mel", "--device", "cpu"],
    ]
    for arguments in commands:
        ran = command(*arguments)
        assert ran.code == 2 and "mine-24k would be replaced, but holds 'awe/1.wav'" in ran.err, ran
        for name, files in before.items():
            assert {key: value for key, value in snapshot(corpus / name).items() if key != INDEX} == files
    assert not (tmp_path / "e.npz").exists()


def outputs(verb: str, corpus: Path, checkpoint: Path, out: Path) -> list[object]:
    """A command of a verb that fills a folder."""
    manifest = corpus / "manifest.csv"
    return {
        "evaluate": ["evaluate", corpus / "clips", "--reference", manifest, "--out", out],
        "benchmark": [
            "benchmark", "emogator", "--data", manifest, "--system", "mlp", "--encoder", "log-mel", "-o", out,
        ],
        "generate": ["generate", "-e", "awe", "--checkpoint", checkpoint, "--per-emotion", 1, "-o", out],
        "rate export": ["rate", "export", corpus / "study", "--out", out],
    }[verb]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "kind", "name"),
    [
        ("evaluate", REPORT, "report.md"),
        ("evaluate", REPORT, "mels-mine.png"),
        ("benchmark", BENCHMARK, "report.md"),
        ("benchmark", BENCHMARK, "model/weights"),
        ("generate", CLIPS, "awe/awe-3.wav"),
        ("generate", CLIPS, "run.json"),
        ("rate export", RATINGS, "targets.csv"),
    ],
)
def test_a_verb_keeps_what_was_added_to_its_own_folder(
    verb: str, kind: FolderKind, name: str, corpus: Path, tmp_path: Path, debug_checkpoint: Path, command: Command
) -> None:
    out = own_folder(tmp_path / "out", kind)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("precious")
    ran = command(*outputs(verb, corpus, debug_checkpoint, out))
    assert ran.code == 2 and re.search(rf"{re.escape(Path(name).name)}|no benchmark", ran.err), ran
    assert (out / name).read_text() == "precious"


@pytest.mark.parametrize("verb", ["evaluate", "benchmark", "generate"])
def test_a_verb_keeps_the_results_of_another(
    verb: str, corpus: Path, tmp_path: Path, debug_checkpoint: Path, command: Command
) -> None:
    out = own_folder(tmp_path / "out", FolderKind("exported ratings"))
    (out / "targets.csv").write_text("precious")
    before = snapshot(out)
    ran = command(*outputs(verb, corpus, debug_checkpoint, out))
    assert ran.code == 2 and "holds exported ratings, not" in ran.err, ran
    assert snapshot(out) == before


def test_the_export_recipe_keeps_files_of_other_origin(
    home: Path, debug_checkpoint: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(home)
    parts = [f"--{part}={debug_checkpoint / part}" for part in ("transformer", "autoencoder")]
    monkeypatch.setattr(sys, "argv", ["export.py", "pipeline", *parts, f"--out={home}"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(root / "recipes" / "export.py"), run_name="__main__")
    assert stopped.value.code == 2 and "was not written by vocalgen" in capsys.readouterr().err
    assert snapshot(home) == before


@pytest.mark.parametrize("script", ["comparison", "recognisers", "roundtrip"])
def test_a_report_of_the_evaluation_scripts_keeps_files_of_other_origin(
    script: str,
    home: Path,
    corpus: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (home / "report.json").write_text('{"systems": ["a"], "emotions": ["Awe"]}')
    before = snapshot(home)
    arguments = {
        "comparison": [home, "a=diffusion"],
        "recognisers": ["emogator-classifier-24k", "--manifest", corpus / "manifest.csv", "--out", home],
        "roundtrip": ["--manifest", corpus / "manifest.csv", "--cache", corpus / "cache", "--out", home],
    }[script]
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(root / "eval" / f"{script}.py"), run_name="__main__")
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and re.search(REASONS, said), said
    assert snapshot(home) == before


def test_interpolate_keeps_a_clip_of_another_command(tmp_path: Path, debug_checkpoint: Path, command: Command) -> None:
    """Its name is a number, and it carries the mark of vocalgen."""
    model = ["--checkpoint", debug_checkpoint, "--device", "cpu"]
    assert command("sample", "-e", "awe", *model, "--out", tmp_path / "laugh.wav").code == 0
    (tmp_path / "way").mkdir()
    shutil.copyfile(tmp_path / "laugh.wav", tmp_path / "way" / "000.wav")
    ran = command("interpolate", "--from", "awe", "--to", "fear", "-n", 2, *model, "--out", tmp_path / "way")
    assert ran.code == 2 and "way holds '000.wav'" in ran.err
    assert (tmp_path / "way" / "000.wav").read_bytes() == (tmp_path / "laugh.wav").read_bytes()


def test_generate_keeps_a_changed_manifest(tmp_path: Path, debug_checkpoint: Path, command: Command) -> None:
    arguments = ["generate", "-e", "awe", "--checkpoint", debug_checkpoint, "--device", "cpu", "-o", tmp_path / "g"]
    assert command(*arguments, "-n", 1).code == 0
    with (tmp_path / "g" / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"mine": 1}\n')
    before = snapshot(tmp_path)
    ran = command(*arguments, "-n", 2)
    assert ran.code == 2 and "manifest.jsonl was changed since vocalgen wrote it" in ran.err
    assert snapshot(tmp_path) == before


def test_prepare_folder_never_replaces_the_table_it_reads(corpus: Path, tmp_path: Path, command: Command) -> None:
    shutil.copyfile(next((corpus / "clips" / "awe").iterdir()), tmp_path / "a.wav")
    (tmp_path / "clips.csv").write_text("file,emotion,split,comment\na.wav,awe,train,precious\n")
    before = snapshot(tmp_path)
    ran = command("data", "prepare", "folder", tmp_path, "--out", tmp_path / "clips.csv", "--overwrite")
    assert ran.code == 2 and "is the table that is read" in ran.err
    assert snapshot(tmp_path) == before


def test_a_study_is_not_replaced_by_other_verbs(
    corpus: Path, tmp_path: Path, debug_checkpoint: Path, command: Command
) -> None:
    shutil.copytree(corpus / "study", tmp_path / "study")
    before = snapshot(tmp_path)
    for verb in ("evaluate", "benchmark", "generate"):
        ran = command(*outputs(verb, corpus, debug_checkpoint, tmp_path / "study"))
        assert ran.code == 2 and "holds a listening study, not" in ran.err, ran
        assert snapshot(tmp_path) == before
