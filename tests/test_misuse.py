"""What people do by mistake: nothing is destroyed, nothing wrong passes as a number, and messages say what to do."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bursts import burst
from conftest import Command, Line
from debug import debug_pipeline, debug_stylegan2
from safetensors.torch import load_file, save_file

from vocalgen import VocalgenError, audio
from vocalgen.atomic import atomic_path, atomic_write_text, require_writable
from vocalgen.corpora.folder import scan
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.data import CacheConfig, WaveCache
from vocalgen.emotions import Vocabulary
from vocalgen.generation.checkpoint import read_defaults, resolve_checkpoint
from vocalgen.generation.loading import load_synthesiser
from vocalgen.metrics.frechet import gaussian_distance
from vocalgen.metrics.prediction import bootstrap, ccc, s_mtl, uar
from vocalgen.metrics.s_gen import s_gen

# Files


def test_what_is_neither_file_nor_folder_is_never_replaced(tmp_path: Path) -> None:
    place = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(place))
        with pytest.raises(VocalgenError, match="it is a device, a socket or a pipe"), atomic_path(place) as temporary:
            temporary.write_text("x")
        assert place.is_socket()
    with pytest.raises(VocalgenError, match="it is a device"):
        atomic_write_text(os.devnull, "x")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_who_may_read_a_file_follows_from_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "alone.safetensors") as temporary:
            save_file({"x": torch.zeros(1)}, temporary)
            temporary.chmod(0o600)  # as safetensors leaves it, in some versions
        with atomic_path(tmp_path / "export") as temporary:
            (temporary / "part").mkdir(parents=True)
            save_file({"x": torch.zeros(1)}, temporary / "part" / "model.safetensors")
            (temporary / "config.json").write_text("{}")
        atomic_write_text(tmp_path / "text", "x")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 5 and {path.stat().st_mode & 0o777 for path in files} == {mode}


def test_a_manifest_never_takes_the_place_of_a_recording(tmp_path: Path, command: Command) -> None:
    clip = tmp_path / "awe" / "1.wav"
    audio.write(clip, burst(0, 0.3, 8000), 8000)
    before = clip.read_bytes()
    code, _, said = command("data", "prepare", "folder", tmp_path, "--split", "train", "--out", clip)
    assert code == 2 and "ends in .csv" in said and clip.read_bytes() == before


def test_names_that_are_no_text(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "clips" / "awe"
    audio.write(folder / "1.wav", burst(0, 0.3, 8000), 8000)
    os.rename(folder / "1.wav", os.fsencode(folder) + b"/lat\xe9.wav")
    out = tmp_path / "m.csv"
    code, _, said = command("data", "prepare", "folder", folder.parent, "--split", "train", "--out", out)
    assert code == 2 and "rename the file" in said and not out.exists()


def export(root: Path, *arguments: object) -> None:
    spec = importlib.util.spec_from_file_location("export", root / "recipes" / "export.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "debug"
    debug_pipeline().save_pretrained(folder)
    return folder


def test_export_keeps_foreign_files(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    parts = [f"--{part}={checkpoint / part}" for part in ("transformer", "autoencoder", "vocoder")]
    clone = tmp_path / "clone"
    (clone / ".git").mkdir(parents=True)
    (clone / ".git" / "HEAD").write_text("precious")
    (clone / "model_index.json").write_text("{}")
    with pytest.raises(SystemExit) as stop:
        export(root, "pipeline", *parts, "--out", clone)
    assert stop.value.code == 2 and (clone / "model_index.json").read_text() == "{}"
    export(root, "pipeline", *parts, "--out", clone, "--overwrite")
    export(root, "pipeline", *parts, "--out", clone)
    assert (clone / ".git" / "HEAD").read_text() == "precious" and (clone / "transformer" / "config.json").is_file()


def test_export_needs_the_autoencoder(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        export(root, "pipeline", "--transformer", checkpoint / "transformer", "--out", tmp_path / "made")
    assert "makes 4 channels, a log-mel has 100; give the --autoencoder" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_options_may_stand_anywhere(root: Path, tmp_path: Path) -> None:
    recipe = root / "recipes" / "emogator" / "msggan.yaml"
    script = [sys.executable, str(root / "recipes" / "train_gan.py"), str(recipe)]
    options = ["--dry-run", "loop.steps=-1", f"loop.run={tmp_path}"]
    done = subprocess.run([*script, *options], capture_output=True, text=True, cwd=root)
    assert done.returncode == 2 and "loop.steps is -1; it must be at least 1" in done.stderr


# Checkpoints


def test_weights_that_are_no_numbers(checkpoint: Path, tmp_path: Path, command: Command) -> None:
    broken = tmp_path / "broken"
    debug_pipeline().save_pretrained(broken)
    file = next((broken / "transformer").glob("*.safetensors"))
    weights = load_file(file)
    name = sorted(weights)[0]
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, file)
    with pytest.raises(VocalgenError, match=f"the weights hold NaN or infinity, first in {name}"):
        load_synthesiser(broken)
    code, _, said = command("sample", "-e", "awe", "--checkpoint", broken, "-o", tmp_path / "clip.wav")
    assert code == 2 and "the weights hold NaN" in said and not (tmp_path / "clip.wav").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling": [1]}, r"sampling is \[1\], not settings by name"),
        ({"_class_name": ["a"]}, "not one of VocalBurstPipeline"),
        ({"vocoder": 5}, "model_index.json says vocoder is None"),
    ],
)
def test_an_index_that_is_none(checkpoint: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    folder = tmp_path / "changed"
    debug_pipeline().save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, **changes}))
    with pytest.raises(VocalgenError, match=words):
        read_defaults(folder)
        load_synthesiser(folder)


def test_an_empty_name_is_not_the_default() -> None:
    with pytest.raises(VocalgenError, match="no checkpoint ''"):
        resolve_checkpoint("")


def test_an_emotion_in_two_spellings_is_one(checkpoint: Path, tmp_path: Path, done: Line) -> None:
    emotions = ["-e", "awe", "-e", "AWE", "-e", "awe=1,fear=0"]
    printed = done("sample", *emotions, "--checkpoint", checkpoint, "-o", tmp_path)
    assert len(printed.splitlines()) == 1 and len(list(tmp_path.iterdir())) == 1


def test_a_folder_in_the_way_is_found_first(checkpoint: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "awe-1.wav").mkdir()
    code, _, said = command("sample", "-e", "awe", "-n", 2, "--checkpoint", checkpoint, "-o", tmp_path)
    assert code == 2 and "awe-1.wav is a folder" in said
    assert [path.name for path in tmp_path.iterdir()] == ["awe-1.wav"]


def test_silence_is_not_searched_for(debug_gan: Path, tmp_path: Path, command: Command) -> None:
    audio.write(tmp_path / "silent.wav", np.zeros(8000, dtype=np.float32), 24_000)
    options = ("-e", "awe", "--checkpoint", debug_gan, "-o", tmp_path / "out")
    code, _, said = command("invert", tmp_path / "silent.wav", *options)
    assert code == 2 and "is silent; there is nothing to search for" in said
    audio.write(tmp_path / "offset.wav", np.full(8000, 0.3, dtype=np.float32), 24_000)
    code, _, said = command("invert", tmp_path / "offset.wav", *options)
    assert code == 2 and "is silent" in said


def test_invert_says_how_much_of_a_long_recording_is_cut(tmp_path: Path, command: Command) -> None:
    gan = debug_stylegan2()
    gan.save_pretrained(tmp_path / "gan")
    longest = int(gan.generator.config.frames) * gan.mel.hop_length
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * longest).astype(np.float32)
    audio.write(tmp_path / "long.wav", noise, gan.sample_rate)
    audio.write(tmp_path / "short.wav", noise[:longest], gan.sample_rate)
    options = ("-e", "awe", "--steps", 1, "--checkpoint", tmp_path / "gan", "-o", tmp_path / "out")
    _, _, said = command("invert", tmp_path / "long.wav", *options)
    kept = longest / gan.sample_rate
    assert f"lasts {4 * kept:.2f} s" in said and f"the last {3 * kept:.2f} s (75 %) are cut" in said
    _, _, said = command("invert", tmp_path / "short.wav", *options)
    assert "cut" not in said


def test_names_that_look_like_markup(tmp_path: Path, done: Line) -> None:
    Manifest(Vocabulary("odd", ("[/x]", "b")), (Clip("a", tmp_path / "a.wav", "train", "", 1.0, (), (1.0, 0.0)),)).save(
        tmp_path / "m.csv"
    )
    assert "[/x]" in done("data", "stats", tmp_path / "m.csv")


# Numbers


def test_matrices_that_are_no_covariances() -> None:
    mean, one = np.zeros(2), np.eye(2)
    for matrix, words in ((-one, "negative variance"), (np.array([[1.0, 0.5], [0.0, 1.0]]), "not symmetric")):
        with pytest.raises(ValueError, match=words):
            gaussian_distance(mean, one, mean, matrix)


def test_blank_labels_have_no_recall() -> None:
    for labels in (["a", "", "b"], [0.0, np.nan, 1.0], ["a", "nan", "b"]):
        with pytest.raises(ValueError, match="1 labels are blank or NaN, the first is in place 1"):
            uar(labels, labels)


def test_scores_out_of_range() -> None:
    for heard, words in ((-7.0, "HEEP is a correlation"), (np.inf, "HEEP is a correlation")):
        with pytest.raises(ValueError, match=words):
            s_gen({"Awe": 1.0}, {"Awe": heard}, ("Awe",))
    for cap in (-1.0, np.nan):
        with pytest.raises(ValueError, match="cap of 1 / FID must be positive"):
            s_gen({"Awe": 1.0}, {"Awe": 0.5}, ("Awe",), cap=cap)
    for values in ((5.0, 0.5, 4.0), (0.5, 50.0, 4.0)):
        with pytest.raises(ValueError, match="must lie in"):
            s_mtl(*values)
    with pytest.raises(ValueError, match="one resample at least, got -1"):
        bootstrap(ccc, [0.0, 1.0], [0.0, 1.0], draws=-1)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "file,file,emotion\na.wav,b.wav,awe\n", "column file appears twice"),
        ("t.csv", "file,emotion:Awe,emotion:awe\na.wav,1,0\n", "column emotion:awe appears twice"),
        ("t.jsonl", "[" * 100_000 + "\n", "row 1 is not JSON"),
        ("t.jsonl", '{"file": ' + "1" * 5_000 + "}\n", "row 1 is not JSON"),
    ],
)
def test_tables_that_would_lose_data(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VocalgenError, match=words):
        scan(tmp_path / name, split="train")


# Refused commands


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "-e", "awe", "--device", "tpu", "--out", "o"),
        ("sample", "-e", "awe", "--duration", "1000", "--out", "o/p"),
        ("sample", "-e", "awe", "--device", "tpu", "--out", "o/p.wav"),
        ("generate", "-n", "1", "--device", "tpu", "--out", "o"),
        ("interpolate", "--from", "awe", "--to", "fear", "--device", "tpu", "--out", "o"),
        ("invert", "absent.wav", "-e", "awe", "--checkpoint", "emogator-stylegan2-24k", "--out", "o"),
        ("evaluate", "absent", "--reference", "m.csv", "--out", "o"),
        ("evaluate", "clips", "--reference", "m.csv", "--device", "tpu", "--out", "o"),
        ("embed", "clips", "--encoder", "absent", "--out", "o/e.npz"),
        ("classify", "clips", "--model", "absent", "--out", "o/p.csv"),
        ("benchmark", "emogator", "--data", "m.csv", "--system", "ssl", "--out", "o"),
        ("data", "prepare", "folder", "absent", "--out", "o/m.csv"),
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_refused_commands_leave_nothing_behind(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Line
) -> None:
    monkeypatch.chdir(tmp_path)
    audio.write("clips/awe/1.wav", burst(0, 0.3, 8000), 8000)
    scan(Path("clips"), split="test").save(Path("m.csv"))
    before = sorted(tmp_path.rglob("*"))
    refused(*arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_caches_that_cannot_be_made_leave_no_lock(tmp_path: Path) -> None:
    audio.write(tmp_path / "clips" / "awe" / "1.wav", burst(0, 0.3, 8000), 8000)
    scan(tmp_path / "clips", split="test").save(tmp_path / "m.csv")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VocalgenError, match="which vocalgen did not write"):
        WaveCache.of(tmp_path / "m.csv", tmp_path / "mine", CacheConfig())
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "clips" / "awe" / "1.wav").unlink()
    with pytest.raises(VocalgenError, match="files of the manifest are missing"):
        WaveCache.of(tmp_path / "m.csv", tmp_path / "caches" / "m", CacheConfig())
    assert not (tmp_path / "caches").exists()


def test_require_writable_creates_nothing(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "deeper")
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    before = sorted(tmp_path.rglob("*"))
    cases = (("file/x", "file is a file"), ("dangling/x", "No such file"), ("n" * 300, "File name too long"))
    for place, reason in cases:
        with pytest.raises(VocalgenError, match=f"cannot write into .*{reason}"):
            require_writable(tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before
