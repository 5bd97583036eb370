"""`vocalgen benchmark` on a small tree of every task's official layout, and `vocalgen classify` with the models."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bursts import burst, write_emogator_tree
from safetensors.numpy import load_file
from task_corpora import labelled, manifest_of

from vocalgen import VocalgenError, audio
from vocalgen.cli.benchmark import _name as folder_of
from vocalgen.cli.classify import _shortened
from vocalgen.cli.main import run
from vocalgen.corpora.emogator import scan
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import CacheConfig, prepared
from vocalgen.emotions import EMOGATOR30, HUME10
from vocalgen.recognition.encoders import OWN
from vocalgen.recognition.scorer import Scorer
from vocalgen.recognition.scores import Scores
from vocalgen.shipped import shipped_models
from vocalgen.tasks.as_encoder import load_scorer
from vocalgen.tasks.enrolment import calibration
from vocalgen.tasks.feature_systems import FeatureSystem
from vocalgen.tasks.task import TASKS

OPTIONS = ("--device", "cpu")
FEW = ("--draws", "50")


class Tiny:
    """A stand-in for an encoder: loudness and spectrum in six numbers."""

    emotions = None

    def __init__(self, name: str, version: str = "1") -> None:
        self.name, self.checksum = name, f"{version:0>64}"
        self.prepare = CacheConfig(sample_rate=16_000)

    def score(self, waves: Sequence[np.ndarray]) -> Scores:
        rows = []
        for wave in waves:
            spectrum = np.abs(np.fft.rfft(wave, 4096)) ** 2
            rows.append([len(wave) / 1e4, wave.std(), *np.log10(1e-6 + np.add.reduceat(spectrum, [0, 50, 150, 400]))])
        return Scores(np.array(rows, dtype=np.float64).reshape(-1, 6) * len(self.name), np.zeros((len(waves), 0)))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process pools and no openSMILE: every encoder is a `Tiny`."""
    for place in ("vocalgen.recognition.features", "vocalgen.recognition.encoders"):
        monkeypatch.setattr(f"{place}.load_encoder", lambda name, device="cpu": Tiny(name))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Manifest of a task's corpus, made once."""
    folder = tmp_path_factory.mktemp("corpora")
    made: dict[str, Path] = {}

    def of(task: str) -> Path:
        if task not in made:
            made[task] = manifest_of(task, folder / task)
        return made[task]

    return of


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def trained(capsys: Any, manifest: Path, out: Path, task: str, *more: object) -> dict[str, Any]:
    system = () if "--system" in more else ("--system", "mlp", "--encoder", "tiny", "epochs=2")
    code, _, err = command(capsys, "benchmark", task, "--data", manifest, "--out", out, *system, *more, *OPTIONS, *FEW)
    assert code == 0, err
    return report_of(out)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_from_tree_to_submission(
    corpora: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    manifest = corpora(task)
    report = trained(capsys, manifest, tmp_path / "out", task, "--seeds", "2", "--team", "the-team")
    assert [entry["seed"] for entry in report["seeds"]] == [101, 102]
    metric = TASKS[task].metric
    found = [entry["validation"][metric] for entry in report["seeds"]]
    assert report["summary"]["validation"][metric]["mean"] == pytest.approx(np.mean(found))
    assert report["summary"]["validation"][metric]["deviation"] == pytest.approx(np.std(found, ddof=1))
    assert report["best"]["seed"] == 101 + int(np.argmax(found))
    scored = task in ("sonata", "emogator")
    assert ("test" in report["summary"]) == scored
    assert any("no test score" in line for line in report["warnings"]) == (not scored)
    page = (tmp_path / "out" / "report.md").read_text()
    assert ("## Published" in page and "arXiv" in page) == (task != "emogator")
    if scored:
        assert "submission" not in report
        return
    code, out, _ = command(capsys, "submission", "check", tmp_path / "out" / report["submission"], "--data", manifest)
    assert code == 0, out
    assert "_the-team_1.csv" in report["submission"]


def test_what_is_sent_is_what_was_predicted(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    report = trained(capsys, corpora("exvo-multitask"), tmp_path, "exvo-multitask", "--seeds", "1")
    with open(tmp_path / report["submission"], newline="") as file:
        rows = {row["File_ID"].strip("[]"): row for row in csv.DictReader(file)}
    ids = json.loads((tmp_path / "seeds" / "seed-101" / "run.json").read_text())["ids"]
    found = load_file(tmp_path / "predictions.safetensors")
    for place, entry in enumerate(ids):
        if entry in rows:
            assert float(rows[entry]["Age"]) == pytest.approx(found["age"][place, 0], rel=1e-6)
            assert rows[entry]["Country"] == str(found["country"][place].argmax())
            assert float(rows[entry]["Surprise"]) == pytest.approx(found["emotions"][place, 9], rel=1e-6)


def test_test_labels_change_nothing_but_the_test_score(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    blank = corpora("exvo-multitask")
    known = labelled(blank, "exvo")
    runs = {}
    for name, manifest in (("blank", blank), ("known", known)):
        runs[name] = trained(capsys, manifest, tmp_path / name, "exvo-multitask", "--seeds", "2")
    assert "test" not in runs["blank"]["summary"] and set(runs["known"]["summary"]) == {"validation", "test"}
    assert runs["known"]["best"]["seed"] == runs["blank"]["best"]["seed"]
    assert runs["known"]["summary"]["validation"] == runs["blank"]["summary"]["validation"]
    for file in ("model/model.safetensors", "predictions.safetensors", "seeds/seed-102/model/model.safetensors"):
        assert (tmp_path / "blank" / file).read_bytes() == (tmp_path / "known" / file).read_bytes()
    found = load_file(tmp_path / "known" / "predictions.safetensors")["age"][-16:, 0]
    truth = Manifest.load(known).split("test").numbers("Age")[:, 0]
    mae = [entry["test"]["MAE"] for entry in runs["known"]["seeds"] if entry["seed"] == runs["known"]["best"]["seed"]]
    assert mae == [pytest.approx(np.abs(found - truth).mean())]
    # Labels that come later only score what is there already.
    again = trained(capsys, known, tmp_path / "blank", "exvo-multitask", "--seeds", "2")
    assert again["summary"] == runs["known"]["summary"]


def test_seeds_repeat_themselves(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    for name in ("one", "two"):
        trained(capsys, corpora("emogator"), tmp_path / name, "emogator", "--seeds", "2")
    for seed in (101, 102):
        files = [tmp_path / name / f"seeds/seed-{seed}/predictions.safetensors" for name in ("one", "two")]
        assert files[0].read_bytes() == files[1].read_bytes()
    first, second = (load_file(tmp_path / f"one/seeds/seed-{seed}/predictions.safetensors") for seed in (101, 102))
    assert not np.array_equal(first["emotion"], second["emotion"])


def test_what_is_done_is_not_done_again(
    corpora: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trained(capsys, corpora("emogator"), tmp_path, "emogator", "--seeds", "1")
    fits: list[int] = []
    fit = FeatureSystem.fit

    def counted(self: FeatureSystem, data: Any, seed: int, folder: Path) -> Any:
        fits.append(seed)
        return fit(self, data, seed, folder)

    monkeypatch.setattr(FeatureSystem, "fit", counted)
    assert trained(capsys, corpora("emogator"), tmp_path, "emogator", "--seeds", "1") == before and fits == []
    trained(capsys, corpora("emogator"), tmp_path, "emogator", "--seeds", "2")
    assert fits == [102]
    assert sorted(path.name for path in (tmp_path / "seeds").glob("[!.]*")) == ["seed-101", "seed-102"]


@pytest.mark.parametrize(
    ("task", "system"),
    [
        ("emotion-share", ("--system", "wav2vec2-svr", "costs=[1e-2,1e-4]", "losses=[squared_epsilon_insensitive]")),
        ("sonata", ("--system", "early-fusion-lr")),
    ],
)
def test_published_names_fix_recipe_and_encoders(
    corpora: Any, tmp_path: Path, capsys: Any, task: str, system: tuple[str, ...]
) -> None:
    report = trained(capsys, corpora(task), tmp_path, task, *system)
    assert len(report["seeds"]) == 1  # nothing is drawn
    names = [entry["name"] for entry in report["settings"]["encoders"]]
    assert (
        names
        == {
            "emotion-share": ["audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"],
            "sonata": ["facebook/wav2vec2-base-960h", "facebook/hubert-base-ls960"],
        }[task]
    )
    weights = load_file(tmp_path / "model" / "model.safetensors")["weights"]
    assert weights.shape == {"emotion-share": (9, 6), "sonata": (25, 12)}[task]
    trained(capsys, corpora(task), tmp_path / "own", task, *system, "--encoder", "a local copy")
    assert [entry["name"] for entry in report_of(tmp_path / "own")["settings"]["encoders"]] == ["a local copy"]


def test_late_fusion_is_the_mean(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    manifest = corpora("emotion-share")
    trained(capsys, manifest, tmp_path / "a", "emotion-share", "--seeds", "1")
    trained(capsys, manifest, tmp_path / "b", "emotion-share", "--system", "compare-svr", "costs=[1e-5]")
    fusion = ("--system", "late-fusion", "--run", tmp_path / "a", "--run", tmp_path / "b")
    trained(capsys, manifest, tmp_path / "c", "emotion-share", *fusion)
    a, b, c = (load_file(tmp_path / name / "predictions.safetensors")["emotions"] for name in "abc")
    np.testing.assert_allclose(c, (a + b) / 2, rtol=1e-12)
    clip = Manifest.load(manifest).split("test").rows[0]
    code, out, _ = command(capsys, "classify", clip.file, "--model", tmp_path / "c", "--json")
    assert code == 0
    place = json.loads((tmp_path / "a/seeds/seed-101/run.json").read_text())["ids"].index(clip.id)
    np.testing.assert_allclose(list(json.loads(out)["emotions"].values()), c[place], atol=1e-4)
    assert "the folders of two at least" in refused(capsys, manifest, tmp_path, "emotion-share", *fusion[:4])
    assert "holds a run of emotion-share, not of emogator" in refused(
        capsys, corpora("emogator"), tmp_path / "d", "emogator", *fusion
    )


@pytest.mark.parametrize("task", ["exvo-multitask", "emogator"])
def test_files_are_classified_as_the_corpus_was(corpora: Any, tmp_path: Path, capsys: Any, task: str) -> None:
    manifest = corpora(task)
    trained(capsys, manifest, tmp_path / "out", task, "--seeds", "1")
    clips = Manifest.load(manifest).split("test").rows
    (tmp_path / "broken.wav").write_bytes(b"RIFF????WAVE")
    arguments = ["classify", *(clip.file for clip in clips), tmp_path / "broken.wav", "--model", tmp_path / "out"]
    code, out, err = command(capsys, *arguments, "--json", "--out", tmp_path / "table.csv", *OPTIONS)
    assert code == 0 and err.count("warning: left out") == 1 and "broken.wav" in err
    found = [json.loads(line) for line in out.splitlines()]
    assert [entry["file"] for entry in found] == [str(clip.file) for clip in clips]
    with open(tmp_path / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    stored = load_file(tmp_path / "out" / "predictions.safetensors")
    for target in TASKS[task].targets:
        expected = stored[target.name][-len(clips) :]
        np.testing.assert_allclose([list(entry[target.name].values()) for entry in found], expected, atol=1e-5)
        written = [[float(row[f"{target.name}:{name}"]) for name in target.columns] for row in table]
        np.testing.assert_allclose(written, expected, atol=1e-5)
    code, out, _ = command(capsys, "classify", clips[0].file, "--model", tmp_path / "out" / "model")
    assert code == 0 and TASKS[task].targets[0].name in out and f"/{clips[0].file.name} " in out
    audio.write(tmp_path / "click.wav", np.array([0.5, -0.5, 0.5]), 16_000)
    audio.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    short = [tmp_path / "click.wav", tmp_path / "silent.wav"]
    code, out, err = command(capsys, "classify", *short, "--model", tmp_path / "out", "--json")
    assert code == 0 and len(out.splitlines()) == 1
    assert "click.wav lasts 0.0002 s only" in err and "silent.wav is silent" in err
    for content in ("clip,split\na,train\n", "notes", "file\n", "file,speaker\na,b\n"):
        (tmp_path / "own.csv").write_text(content)
        code, _, err = command(capsys, "classify", short[0], "--model", tmp_path / "out", "--out", tmp_path / "own.csv")
        assert code == 2 and "was not written by vocalgen" in err and (tmp_path / "own.csv").read_text() == content
    assert command(capsys, *arguments, "--json", "--out", tmp_path / "table.csv", "--overwrite", *OPTIONS)[0] == 0
    code, _, err = command(capsys, "classify", tmp_path / "broken.wav", "--model", tmp_path / "out")
    assert code == 2 and "none of the 1 files could be read" in err


def test_files_of_a_speaker_who_is_enrolled(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    manifest = corpora("exvo-fewshot")
    trained(
        capsys, manifest, tmp_path / "out", "exvo-fewshot", "--system", "mlp-enrolled", "--encoder", "tiny",
        "--seeds", "1", "epochs=2",
    )  # fmt: skip
    path = tmp_path / "out" / "model" / "system.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "slope": 0.1, "offset": 0.1}))
    clips = [clip for clip in Manifest.load(manifest).split("test").rows]
    known, labels = clips[0].file, [0.1 * k for k in range(10)]
    with open(tmp_path / "speaker.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *HUME10.emotions])
        writer.writerow([known, *labels[:9], ""])

    def heard(*more: object) -> np.ndarray:
        code, out, err = command(capsys, "classify", known, "--model", tmp_path / "out", "--json", *more)
        assert code == 0, err
        return np.array(list(json.loads(out)["emotions"].values()))

    before, after = heard(), heard("--enrol", tmp_path / "speaker.csv")
    a, b = calibration(before[None], np.array([[*labels[:9], np.nan]]), 0.1, 0.1)
    np.testing.assert_allclose(after, np.clip(a * before + b, 0, 1), atol=1e-6)
    assert np.abs(after - labels)[:9].mean() < np.abs(before - labels)[:9].mean() and after[9] == before[9]
    audio.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    header, ones = f"file,{','.join(HUME10.emotions)}\n", ",1" * 10
    for text, words in (
        (f"file,Awe\n{known},1\n", "column Excitement"),
        (f"{header}{known}{ones}\n{ones}\n", "speaker.csv, row 3, column file: is blank"),
        (f"{header}{known}{',' * 10}\n", "speaker.csv has no labels"),
        (f"{header}silent.wav{ones}\n", "silent.wav is silent"),
        (f"{header}SILENT.wav{ones}\n", "column file: "),
        (f"{header}SILENT.wav{ones}\n", "'silent.wav' is there: is it meant?"),
    ):
        (tmp_path / "speaker.csv").write_text(text)
        code, _, err = command(
            capsys, "classify", known, "--model", tmp_path / "out", "--enrol", tmp_path / "speaker.csv"
        )
        assert code == 2 and words in err, err
    (tmp_path / "speaker.csv").write_text(f"{header}{known}{ones}\n")
    path.write_text(json.dumps({**json.loads(path.read_text()), "slope": 1e9, "offset": 1e9}))
    code, _, err = command(capsys, "classify", known, "--model", tmp_path / "out", "--enrol", tmp_path / "speaker.csv")
    assert code == 0 and "--enrol changes nothing" in err
    trained(capsys, manifest, tmp_path / "plain", "exvo-fewshot", "--seeds", "1")
    code, _, err = command(
        capsys, "classify", known, "--model", tmp_path / "plain", "--enrol", tmp_path / "speaker.csv"
    )
    assert code == 2 and "this system cannot get to know a speaker" in err


def test_files_are_classified_by_a_classifier_of_emotions(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    name, folder = "emogator-classifier-24k", shipped_models()["emogator-classifier-24k"]
    clips = [clip.file for clip in Manifest.load(corpora("emogator")).rows[:2]]
    found = []
    for model in (name, folder):
        code, out, err = command(capsys, "classify", *clips, "--model", model, "--json", *OPTIONS)
        assert code == 0, err
        found.append([list(json.loads(line)["emotion"].values()) for line in out.splitlines()])
    assert found[0] == found[1]
    scorer = Scorer.load(folder)
    logits = scorer.score([prepared(*audio.read(clip), scorer.prepare) for clip in clips]).logits
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    for model in ("emogator-diffusion-24k", tmp_path):
        code, _, err = command(capsys, "classify", clips[0], "--model", model)
        assert code == 2 and "holds no system" in err and name in err
    for system in ("a/model", "b/model", "c"):
        (tmp_path / "runs" / system).mkdir(parents=True)
        (tmp_path / "runs" / system / "system.json").write_text("{}")
    code, _, err = command(capsys, "classify", clips[0], "--model", tmp_path / "runs")
    inside = ", ".join(str(tmp_path / "runs" / system) for system in "abc")
    assert code == 2 and f"holds several systems; give one of them: {inside}" in " ".join(err.split())


def test_an_encoder_without_classes_classifies_nothing(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OWN, "Tiny", lambda folder, device: Tiny(folder.name))
    (tmp_path / "config.json").write_text('{"_class_name": "Tiny"}')
    audio.write(tmp_path / "clip.wav", burst(0, 0.3, 16_000, 0), 16_000)
    code, _, err = command(capsys, "classify", tmp_path / "clip.wav", "--model", tmp_path)
    assert code == 2 and f"{tmp_path} is an encoder without classes; give a classifier of emotions" in err


@pytest.mark.parametrize(
    ("most", "shown"),
    [(30, "corpus/anger/laugh.wav"), (21, "…/anger/laugh.wav"), (16, "…/laugh.wav"), (3, "…/laugh.wav")],
)
def test_of_long_paths_the_end_is_shown(most: int, shown: str) -> None:
    assert _shortened(Path("corpus/anger/laugh.wav"), most) == shown


def test_few_shot_without_labels_of_test_speakers_is_told(tmp_path: Path, capsys: Any) -> None:
    manifest = manifest_of("exvo-fewshot", tmp_path)
    with open(manifest, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(manifest, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(
            {**row, **dict.fromkeys([f"emotion:{name}" for name in HUME10.emotions], "")}
            if row["split"] == "test"
            else row
            for row in rows
        )
    report = trained(capsys, manifest, tmp_path / "out", "exvo-fewshot", "--seeds", "1")
    assert any("nothing is personalised in test" in line for line in report["warnings"])


def test_another_version_of_an_encoder(
    corpora: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(capsys, corpora("emogator"), tmp_path, "emogator", "--seeds", "1")
    monkeypatch.setattr("vocalgen.recognition.encoders.load_encoder", lambda name, device: Tiny(name, "2"))
    clip = Manifest.load(corpora("emogator")).rows[0].file
    code, _, err = command(capsys, "classify", clip, "--model", tmp_path)
    assert code == 2 and "was trained on tiny with checksum 0000" in err


def refused(capsys: Any, manifest: Path, out: Path, task: str, *more: object) -> str:
    code, _, err = command(capsys, "benchmark", task, "--data", manifest, "--out", out, *more, *OPTIONS)
    assert code == 2
    return err


def test_what_cannot_be_is_refused(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    manifest = corpora("emogator")
    mlp = ("--system", "mlp")
    assert "no task 'emotion'; choose one of" in refused(capsys, manifest, tmp_path, "emotion")
    assert "no system 'mpl'; choose one of mlp (" in refused(capsys, manifest, tmp_path, "emogator", "--system", "mpl")
    assert "say of which --encoder" in refused(capsys, manifest, tmp_path, "emogator", *mlp)
    assert "svr is not for emogator" in refused(capsys, manifest, tmp_path, "emogator", "--system", "svr")
    assert "unknown key 'epoch'; did you mean 'epochs'" in refused(
        capsys, manifest, tmp_path, "emogator", *mlp, "--encoder", "tiny", "epoch=1"
    )
    assert "the manifest has no emotion Excitement" in refused(
        capsys, manifest, tmp_path, "avb-high", *mlp, "--encoder", "tiny"
    )
    assert "no such manifest; make it with `vocalgen data prepare emogator`" in refused(
        capsys, tmp_path / "absent.csv", tmp_path, "emogator"
    )
    trained(capsys, manifest, tmp_path / "taken", "emogator", "--seeds", "1")
    other = refused(capsys, manifest, tmp_path / "taken", "emogator", "--system", "lr", "--encoder", "tiny")
    assert "holds the benchmark of mlp on emogator; give another --out" in other


def test_clips_that_cannot_be_read_are_refused(tmp_path: Path, capsys: Any) -> None:
    manifest = manifest_of("emotion-share", tmp_path)
    (tmp_path / "corpus" / "wav" / "devel_3.wav").write_bytes(b"nothing")
    err = refused(capsys, manifest, tmp_path / "out", "emotion-share", "--system", "mlp", "--encoder", "tiny")
    assert "1 clips have features that are NaN, the first devel_3" in err


def flag(manifest: Path, row: int, name: str) -> None:
    with open(manifest, newline="") as file:
        rows = list(csv.DictReader(file))
    rows[row]["flags"] = name
    with open(manifest, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_flagged_test_clips_are_in_the_submission(tmp_path: Path, capsys: Any) -> None:
    manifest = manifest_of("avb-two", tmp_path)
    flag(manifest, -1, "silent")
    report = trained(capsys, manifest, tmp_path / "out", "avb-two", "--seeds", "1")
    assert any("1 test clips cannot be used" in line for line in report["warnings"])
    code, out, _ = command(capsys, "submission", "check", tmp_path / "out" / report["submission"], "--data", manifest)
    assert code == 0, out


def test_evaluate_scores_by_a_trained_system(tmp_path: Path, capsys: Any) -> None:
    manifest = tmp_path / "emogator.csv"
    write_emogator_tree(tmp_path / "mp3", (1, 2, 3, 4, 285, 286, 320, 321), (1, 2, 4), (1, 2, 3), 0.3, 16_000)
    scan(tmp_path / "mp3").save(manifest)
    trained(capsys, manifest, tmp_path / "judge", "emogator", "--seeds", "1")
    for name in ("adoration", "amusement", "awe"):
        for number in range(10):
            audio.write(tmp_path / "clips" / name / f"{number}.wav", burst(number, 0.4, 16_000, number), 16_000)
    (tmp_path / "protocol.yaml").write_text(
        "per_emotion: 10\ndraws: 1\nmemory: false\nreference: [validation, test]\npermutations: 5\n"
    )
    arguments = ("--protocol", tmp_path / "protocol.yaml", "--vocoder", "griffin-lim", "-e", "adoration,amusement,awe")
    code, _, err = command(
        capsys, "evaluate", tmp_path / "clips", "--reference", manifest, "--classifier", tmp_path / "judge", *arguments,
        "--out", tmp_path / "report", *OPTIONS,
    )  # fmt: skip
    assert code == 0, err
    assert "judge" in (tmp_path / "report" / "report.md").read_text()
    scorer = load_scorer(str(tmp_path / "judge"))
    assert scorer.emotions == EMOGATOR30 and len(scorer.checksum) == 64
    stored = load_file(tmp_path / "judge" / "predictions.safetensors")["emotion"]
    clip = Manifest.load(manifest).split("test").rows[-1]
    wave = prepared(*audio.read(clip.file), scorer.prepare)
    scores = scorer.score([wave])
    assert scores.embeddings.shape == (1, 64)
    np.testing.assert_allclose(np.exp(scores.logits[0]), stored[-1], atol=1e-5)


def test_only_systems_that_hear_emotions_score(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    trained(capsys, corpora("avb-two"), tmp_path, "avb-two", "--seeds", "1")
    with pytest.raises(VocalgenError, match="cannot score clips: it takes a system that predicts emotions"):
        load_scorer(str(tmp_path))


def test_models_can_be_read_by_whom_their_reports_can(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    trained(capsys, corpora("emogator"), tmp_path, "emogator", "--seeds", "1")
    modes = {file.stat().st_mode for file in [tmp_path / "report.json", *tmp_path.rglob("*.safetensors")]}
    assert len(modes) == 1 and len(list(tmp_path.rglob("*.safetensors"))) == 4


def test_tables_of_features_have_folders_of_their_own() -> None:
    names = {folder_of("svr", [f"features/{name}/features.csv"]) for name in ("opensmile", "wav2vec")}
    assert names == {"svr-opensmile-features-csv", "svr-wav2vec-features-csv"}


def test_a_damaged_seed_is_fitted_again(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    manifest = corpora("emogator")
    whole = trained(capsys, manifest, tmp_path / "out", "emogator", "--seeds", "1")
    for name in ("predictions.safetensors", "run.json"):
        (tmp_path / "out" / "seeds" / "seed-101" / name).write_bytes(b"{")
        assert trained(capsys, manifest, tmp_path / "out", "emogator", "--seeds", "1")["seeds"] == whole["seeds"]


def test_damaged_models(corpora: Any, tmp_path: Path, capsys: Any) -> None:
    trained(capsys, corpora("emogator"), tmp_path, "emogator", "--seeds", "1")
    clip, model = Manifest.load(corpora("emogator")).rows[0].file, tmp_path / "model"
    whole = (model / "model.safetensors").read_bytes()
    description = (model / "system.json").read_text()
    for weights, text, words in (
        (whole[:100], description, "the model is damaged or incomplete"),
        (whole, description.replace("emogator", "sonata"), "the weights belong to another network"),
        (whole, description.replace('"features"', '"oracle"'), "knows no system of kind 'oracle' for task 'emogator'"),
        (whole, "[]", "is no JSON object"),
        (whole, "{}", "does not say which system it is and of which task"),
        (whole, description.replace('"kind": "mlp"', '"kind": "oracle"'), "knows no features system of kind 'oracle'"),
    ):
        (model / "model.safetensors").write_bytes(weights)
        (model / "system.json").write_text(text)
        code, _, err = command(capsys, "classify", clip, "--model", tmp_path)
        assert code == 2 and words in err
    code, _, err = command(capsys, "classify", clip, "--model", tmp_path / "absent")
    assert code == 2 and "no such folder; train a system with `vocalgen benchmark`" in err
