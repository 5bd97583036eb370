"""`vocalgen evaluate` from outside: what it leaves, what it keeps, and how it takes bad input."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from bursts import burst
from scipy.io import wavfile
from small_corpus import EMOTIONS, MEL, RATE, write_corpus

from vocalgen import audio
from vocalgen.cli import evaluate as verb
from vocalgen.cli.main import run as vocalgen
from vocalgen.emotions import slug
from vocalgen.errors import VocalgenError
from vocalgen.evaluation import quality
from vocalgen.evaluation import run as evaluation
from vocalgen.evaluation.anchors import Voice
from vocalgen.evaluation.measured import Measured
from vocalgen.evaluation.schema import check_report
from vocalgen.evaluation.store import Store
from vocalgen.models.classifier import MelClassifier
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.ownership import INDEX
from vocalgen.rating.store import Store as Answers
from vocalgen.rating.study import open_study
from vocalgen.recognition.scores import Scores

N = 14
EVIL = "<img src=x onerror=alert(1)>"
MESSY = "<b>messy"
VOICE = Voice("Griffin-Lim", MEL, lambda mel: griffin_lim(torch.from_numpy(mel)[None], MEL, 4)[0].numpy())
PROTOCOL = f"per_emotion: {N}\nreference: [validation, test]\ndraws: 2\npermutations: 5\n"
FILES = {"report.json", "report.md", "report.html", "distances.png", "confusion.png", "between.png"}


class Done(NamedTuple):
    """What a command did: exit code, last line on stdout, stderr."""

    code: object
    out: str
    err: str

    @property
    def error(self) -> str:
        """Its one line about what was wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert self.code == 2 and self.out == "", self
        assert len(lines) == 1 and "Traceback" not in self.err and "bug" not in self.err, self.err
        return lines[0]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest, untrained classifiers in scorer/ and wide/, a protocol, and clips in good/."""
    folder = write_corpus(tmp_path_factory.mktemp("corpus")).parent
    torch.manual_seed(0)
    for name, dimension in (("scorer", 4), ("wide", 24)):
        MelClassifier(MEL.to_dict(), EMOTIONS.emotions, dimension, (4, 6), (16, 24), (1, 1)).save_pretrained(
            folder / name
        )
    (folder / "own.yaml").write_text(PROTOCOL)
    for emotion, name in enumerate(EMOTIONS.emotions):
        for clip in range(N):
            wave = burst(emotion, 0.3 + 0.05 * (clip % 4), RATE, seed=500 + clip)
            audio.write(folder / "good" / slug(name) / f"{clip:03d}.wav", wave, RATE)
    return folder


@pytest.fixture(scope="module")
def evaluate(corpus: Path) -> Callable[..., Done]:
    """Runs the verb; options that are not given are those of the small corpus."""

    def invoke(*arguments: object, here: Path = corpus) -> Done:
        given = ["evaluate", *map(str, arguments)]
        defaults = {"--reference": here / "manifest.csv", "--protocol": here / "own.yaml",
                    "--encoder": here / "scorer", "--device": "cpu"}  # fmt: skip
        for option, value in defaults.items():
            given += [] if option in given else [option, str(value)]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            if "--vocoder" not in given:
                patch.setattr(verb, "_voice", lambda name: VOICE)  # the shipped one takes longer than all the rest
            patch.setattr(evaluation, "GRID", MEL)  # or the real clips would be prepared once more, for a picture
            with pytest.raises(SystemExit) as stopped:
                vocalgen(given)
        lines = out.getvalue().strip().splitlines()
        return Done(stopped.value.code, lines[-1] if lines else "", err.getvalue())

    return invoke


def report_of(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.err
    stored: dict[str, Any] = json.loads(Path(done.out).with_name("report.json").read_text(encoding="utf-8"))
    check_report(stored)
    return stored


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def good(corpus: Path, evaluate: Callable[..., Done]) -> Done:
    return evaluate(corpus / "good", "--out", corpus / "first")


def test_a_run_leaves_the_report_and_nothing_else(corpus: Path, good: Done) -> None:
    report = report_of(good)
    assert good.out == str(corpus / "first" / "report.html") and "warning" not in good.err
    assert names(corpus / "first") == FILES | {"mels.png", INDEX}
    assert all((corpus / "first" / name).stat().st_size > 500 for name in FILES)
    assert (corpus / "first" / "distances.png").read_bytes().startswith(b"\x89PNG")
    assert (report["systems"], report["warnings"]) == (["good"], [])
    assert {path.name for path in corpus.iterdir() if path.name.startswith("manifest")} == {
        "manifest.csv", "manifest-8k", "manifest-measured"
    }  # fmt: skip
    assert names(corpus / "good") == {slug(name) for name in EMOTIONS.emotions}


def test_what_was_measured_is_not_measured_again(
    corpus: Path, good: Done, evaluate: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shutil.copytree(corpus, tmp_path / "moved", ignore=shutil.ignore_patterns("*-*-*.wav", "first"))
    assert not list(here.glob("*.wav"))  # the real recordings may be elsewhere by now
    kept = {path.name: path.stat().st_mtime_ns for path in (here / "manifest-measured").glob("*.npz")}
    measured: list[str] = []
    whole = quality.measure

    def counted(clips: Any, encoders: Any, description: str) -> Measured:
        measured.append(description)
        return whole(clips, encoders, description)

    monkeypatch.setattr(quality, "measure", counted)
    again = report_of(evaluate(here / "good", "--out", here / "again", here=here))
    assert measured == ["good"]
    first = report_of(good)
    for report in (again, first):
        del report["conditions"]["protocol"]["encoders"]  # where the scorer lies
    assert again == first
    assert {path.name: path.stat().st_mtime_ns for path in (here / "manifest-measured").glob("*.npz")} == kept
    # Another scorer, another seed: what depends on them is measured, and stands beside the rest.
    report_of(evaluate(here / "good", "--out", here / "again", "--seed", 1, here=here))
    assert set(measured[2:]) == {"vocoder round trip of real clips", "class-mean mel", "white noise", "silence"}
    assert kept.keys() < {path.name for path in (here / "manifest-measured").glob("*.npz")}


def _other_compression(data: bytes) -> bytes:
    """A method nobody knows, in the directory of the archive."""
    place = data.index(b"PK\x01\x02") + 10
    return data[:place] + b"\x63" + data[place + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:200], lambda data: b"x" * len(data), _other_compression]
)
def test_damaged_measurements_are_made_again(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    ids = np.array(["a", "b"])
    scores = {"s": Scores(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))}
    made = Measured(np.arange(2), ids, ids, np.ones((2, 4)), np.ones((2, 3), np.float16), ids, scores, ["c: broken"])
    store, calls = Store(tmp_path), []

    def get() -> Measured:
        return store.get({"key": 1}, lambda: calls.append(1) or made)  # type: ignore[func-returns-value]

    get()
    file = next(tmp_path.glob("*.npz"))
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    for found in (get(), get()):
        assert found.skipped == ["c: broken"] and found.ids.tolist() == ["a", "b"]
        np.testing.assert_array_equal(found.scores["s"].logits, np.eye(2))
    assert len(calls) == 2 and file.read_bytes() == whole


@pytest.fixture(scope="module")
def messy(corpus: Path, evaluate: Callable[..., Done]) -> Done:
    """Clips as they come: copies of real ones, other rates, broken files, strange names, a folder too many."""
    folder = shutil.copytree(corpus / "good", corpus / "messy")
    shutil.copyfile(corpus / "03-1-2.wav", folder / "awe" / "000.wav")  # a training clip
    shutil.copyfile(corpus / "12-1-0.wav", folder / "awe" / "001.wav")  # one of the reference
    wavfile.write(folder / "awe" / "002.wav", RATE, np.full(4000, np.nan, np.float32))
    (folder / "awe" / "003.wav").unlink()
    (folder / "awe" / f"{EVIL}.wav").write_bytes(b"RIFF")
    audio.write(folder / "awe" / "004.wav", np.zeros(4000), RATE, overwrite=True)
    for file in (folder / "amusement").iterdir():
        file.rename(file.with_name(f"{EVIL} {file.name}"))
    for clip, rate in enumerate((16_000, 44_100, 48_000)):
        wave = burst(2, 0.3, rate, seed=500 + clip)
        audio.write(folder / "surprise-positive" / f"{clip:03d}.wav", wave, rate, overwrite=True)
    stereo = np.stack([burst(2, 0.3, 16_000, seed=503)] * 2, axis=1)
    wavfile.write(folder / "surprise-positive" / "003.wav", 16_000, stereo)
    audio.write(folder / "horor" / "000.wav", burst(1, 0.3, RATE), RATE)
    (folder / "notes.txt").write_text("not a clip")
    (folder / "awe" / "notes.txt").write_text("not a clip")
    return evaluate(f"{MESSY}={folder}", "--out", corpus / "messy-out")


def test_bad_clips_are_left_out_and_said(corpus: Path, messy: Done) -> None:
    report = report_of(messy)
    skipped = report["conditions"]["skipped"][MESSY]
    assert [line.partition(": ")[0] for line in skipped] == ["awe/002.wav", "awe/004.wav", f"awe/{EVIL}.wav"]
    assert "NaN" in skipped[0] and "silent" in skipped[1]
    assert any(f"{MESSY}: 3 clips left out, first awe/002.wav" in line for line in report["warnings"])
    assert (
        f"{MESSY}: 11 clips of Awe where the protocol asks for 14; every set was cut to the fewest"
        in report["warnings"]
    )
    assert report["conditions"]["generated"] == {MESSY: 33}  # no clip of the folder that is no emotion
    assert report["conditions"]["clips_of_an_emotion"] == 11
    printed = [line for line in messy.err.splitlines() if line.startswith("warning: ")]
    assert printed == [f"warning: {line}" for line in report["warnings"]]
    for row in report["sections"]["distance"]["rows"].values():
        assert all(entry.get("n", 11) == 11 for entry in row["emotions"].values())  # every row at one n
    assert names(corpus / "messy-out") == FILES | {"mels.png", INDEX}


def test_folders_that_are_no_emotion_and_mixed_rates_are_said(messy: Done) -> None:
    said = report_of(messy)["warnings"]
    assert f"{MESSY}: folders whose names are not emotions were left out: horor" in said
    rates = "36 of 8000 Hz, 2 of 16000 Hz, 1 of 44100 Hz, 1 of 48000 Hz"
    assert f"{MESSY}: clips of different sample rates ({rates}): distances may tell the rates apart" in said


def test_copies_of_training_and_of_reference_clips_are_named(messy: Done) -> None:
    report = report_of(messy)
    assert f"{MESSY}: 2 clips are copies of real ones, first awe/000.wav of 03-1-2" in report["warnings"]
    assert report["sections"]["memory"]["rows"][MESSY]["emotions"]["Awe"]["copies"] >= 1


def test_clips_of_other_rates_are_resampled(good: Done, messy: Done) -> None:
    """The same sounds at other rates and in stereo: no other length and about no other level."""
    rows = [report_of(done)["sections"]["acoustics"]["rows"] for done in (good, messy)]
    mixed, plain = rows[1][MESSY]["emotions"]["Surprise (Positive)"], rows[0]["good"]["emotions"]["Surprise (Positive)"]
    assert mixed["seconds"] == pytest.approx(plain["seconds"], abs=0.05)
    assert mixed["loudness"] == pytest.approx(plain["loudness"], abs=3.0)


class Tags(HTMLParser):
    """Tags of a page, and attributes that run scripts or load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.risky: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.risky += [
            key for key, value in attrs if key.startswith("on") or (key == "src" and not str(value).startswith("data:"))
        ]


def test_names_from_outside_are_text_in_the_page(corpus: Path, messy: Done, good: Done) -> None:
    page = Path(messy.out).read_text(encoding="utf-8")
    assert EVIL not in page and MESSY not in page
    assert "&lt;img src=x onerror=alert(1)&gt; 0" in page  # a clip that can be played
    assert "awe/&lt;img src=x onerror=alert(1)&gt;.wav" in page  # a clip that was left out
    tags, plain = Tags(page), Tags(Path(good.out).read_text(encoding="utf-8"))
    assert tags.risky == plain.risky == []
    for tag in ("img", "script", "b"):
        assert tags.found.count(tag) == plain.found.count(tag) > 0, tag
    text = Path(messy.out).with_name("report.md").read_text(encoding="utf-8")
    assert EVIL not in text and MESSY not in text and "&lt;b&gt;messy" in text


def test_two_systems_by_name_and_by_folder(corpus: Path, good: Done, evaluate: Callable[..., Done]) -> None:
    """A name is what stands before the first =, unless the whole is a folder; a rating belongs to a name."""
    other = shutil.copytree(corpus / "good", corpus / "a=b")
    shutil.rmtree(other / "awe")
    (other / "awe").mkdir()  # an empty class
    lines = ["rater,clip,emotion,rating"]
    for rater in range(2):
        for meant in EMOTIONS.emotions:
            for clip in range(5):
                heard = {name: 5 if name == "Awe" else 80 + clip if name == meant else 9 for name in EMOTIONS.emotions}
                lines += [f"r{rater},{slug(meant)}/{clip:03d}.wav,{name},{value}" for name, value in heard.items()]
    (corpus / "ratings.csv").write_text("\n".join(lines))
    done = evaluate(other, f"ours, final={corpus / 'good'}/", "--ratings", f"ours, final={corpus / 'ratings.csv'}",
                    "-o", corpus / "two")  # fmt: skip
    report = report_of(done)
    assert report["systems"] == ["a=b", "ours, final"]
    assert names(corpus / "two") == FILES | {"mels-a-b.png", "mels-ours-final.png", INDEX}
    assert "a=b: no clips of Awe; its means are over the others" in report["warnings"]
    rows = report["sections"]["distance"]["rows"]
    assert set(rows["a=b"]["emotions"]) == {"Amusement", "Surprise (Positive)"}
    assert rows["ours, final"] == report_of(good)["sections"]["distance"]["rows"]["good"]  # whoever stands beside it
    assert {(entry["a"], entry["b"], entry["column"]) for entry in report["differences"]} == {
        ("a=b", "ours, final", "ratio"), ("a=b", "ours, final", "pooled")
    }  # fmt: skip
    # Nobody heard awe anywhere: a constant column.
    assert "ours, final: all ratings of Awe are 5: its HEEP is not defined" in report["warnings"]
    assert "ours, final: Awe: its HEEP is not defined and counts 0" in report["warnings"]
    heard = report["sections"]["ratings"]["rows"]["ours, final"]["emotions"]
    assert heard["Awe"]["heep"] is None and heard["Amusement"]["heep"][0] > 0.9
    fid = rows["ours, final"]["emotions"]["Awe"]["frechet"][0]
    assert heard["Awe"]["s_gen"] == pytest.approx(1 / fid / 2)


def test_a_listening_study_is_read(corpus: Path, evaluate: Callable[..., Done], tmp_path: Path) -> None:
    """Study, export, evaluation, metric and the study's own report: one HEEP, whatever the scale."""

    def called(*arguments: object) -> str:
        out = io.StringIO()
        with redirect_stdout(out), pytest.raises(SystemExit) as stopped:
            vocalgen([str(argument) for argument in arguments])
        assert stopped.value.code == 0, arguments
        return out.getvalue()

    called("rate", "new", tmp_path / "study", "--clips", corpus / "good", "--per-emotion", 4)
    settings = (tmp_path / "study" / "study.yaml").read_text()
    (tmp_path / "study" / "study.yaml").write_text(
        settings.replace("low: 1\n", "low: 0\n").replace("high: 100", "high: 10")
    )
    study, rng = open_study(tmp_path / "study"), np.random.default_rng(0)
    assert (study.settings.low, study.settings.high) == (0, 10)
    answers, meant = Answers(study), {clip.key: clip.emotion for clip in study.clips}
    for token in answers.invite(4):
        answers.consent(token)
        while (page := answers.next_page(token)) is not None:
            values = {name: int(rng.integers(0, 11) + 4 * (name == meant[page.clip])) for name in page.emotions}
            answers.save(token, page.place, {name: min(value, 10) for name, value in values.items()}, 1, 9.0)
    answers.withdraw(token)
    called("rate", "export", study.folder, "--out", tmp_path / "ratings")
    ratings = tmp_path / "ratings" / "ratings_long.csv"
    done = evaluate(corpus / "good", "--ratings", ratings, "--out", tmp_path / "out")
    evaluated = report_of(done)["sections"]["ratings"]["rows"]["good"]
    found = json.loads(
        called("rate", "report", study.folder, "--json", "--evaluation", tmp_path / "out" / "report.json")
    )
    heep, known = found["heep"]["column"], ("--vocabulary", "emogator-30")
    assert 0.1 < heep["overall"][0] < 0.9 and evaluated["overall"]["raters"] == found["raters"] == 3
    assert evaluated["overall"]["heep"][0] == pytest.approx(heep["overall"][0], rel=1e-5)
    assert float(called("metrics", "heep", ratings, *known)) == pytest.approx(heep["overall"][0], rel=1e-5)
    for name, entry in evaluated["emotions"].items():
        assert entry["heep"][0] == pytest.approx(heep["emotions"][name][0], rel=1e-5)
        assert entry["s_gen"] == pytest.approx(found["s_gen"]["emotions"][name], rel=1e-5)
    assert set(evaluated["emotions"]) == set(heep["emotions"]) == set(EMOTIONS.emotions)


def test_speakers_on_both_sides_are_said_everywhere(corpus: Path, evaluate: Callable[..., Done]) -> None:
    (corpus / "shared.yaml").write_text(PROTOCOL.replace("validation, test", "train, test"))
    done = evaluate(corpus / "good", "-o", corpus / "shared", "--protocol", corpus / "shared.yaml")
    line = "8 speakers are in the reference and in the floor split, first s0: the floor is too low"
    assert line in report_of(done)["warnings"]
    for text in (done.err, *(Path(done.out).with_suffix(suffix).read_text() for suffix in (".md", ".html"))):
        assert line in text


def test_more_dimensions_than_clips(corpus: Path, evaluate: Callable[..., Done]) -> None:
    done = evaluate(corpus / "good", "-o", corpus / "wide-out", "--encoder", corpus / "wide")
    report = report_of(done)
    assert report["conditions"]["covariance"] == "Ledoit-Wolf shrinkage"
    assert any(
        line.startswith("wide: 14 clips of an emotion are too few for a covariance in 24 dimensions")
        for line in report["warnings"]
    )
    (corpus / "plain.yaml").write_text(PROTOCOL + "shrinkage: none\n")
    arguments = ("--encoder", corpus / "wide", "--protocol", corpus / "plain.yaml")
    refused = evaluate(corpus / "good", "-o", corpus / "plain-out", *arguments)
    assert "only 14 clips, too few for a covariance in 24 dimensions" in refused.error
    assert not (corpus / "plain-out").exists()


WRONG: list[tuple[list[str], str]] = [
    (
        ["CORPUS/empty"],
        "CORPUS/empty holds no clips; the layout is DIR/<emotion>/*.wav with emotions such as amusement",
    ),
    (["CORPUS/strange"], "CORPUS/strange holds no clips; the layout is"),
    (["CORPUS/broken"], "broken: none of the 20 clips could be measured; the first: amusement/0.wav"),
    (["CORPUS/few"], "few: 9 clips of Awe; a distribution needs 10 at least"),
    (["CORPUS/good", "-e", "awe", "-e", "AWE"], "protocol: emotions has 'AWE' twice; name it once"),
    (["CORPUS/good", "-e", "awe,horor"], "unknown emotion 'horor'"),
    (["CORPUS/good/awe"], "CORPUS/good/awe holds no clips; the layout is"),
    (["CORPUS/manifest.csv"], "is not a folder of generated clips"),
    (["=CORPUS/good"], "'=CORPUS/good' does not say which system it is of; give NAME=PATH"),
    (["good="], "'good=' does not say which system it is of"),
    (["x=CORPUS/good", "x=CORPUS/few"], "two entries are called 'x'; give NAME=PATH"),
    (["x y=CORPUS/good", "X-y=CORPUS/few"], "the names 'x y' and 'X-y' are too much alike"),
    (["silence=CORPUS/good"], "'silence' is what the report calls an anchor; give another NAME=PATH"),
    (["CORPUS/good", "--seed", "-1"], "protocol: seed is -1; it must be at least 0"),
    (["CORPUS/good", "-n", "many"], "Invalid value for '--per-emotion' / '-n'"),
    (["CORPUS/good", "--encoder", "CORPUS/scorer", "--encoder", "CORPUS/scorer"], "encoders has 'CORPUS/scorer' twice"),
    (["CORPUS/good", "--encoder", "CORPUS/good"], "no encoder"),
    (["CORPUS/good", "--vocoder", "CORPUS/good"], "cannot read CORPUS/good/config.json"),
    (["CORPUS/good", "--reference", "CORPUS/r.csv"], "CORPUS/r.csv: not a manifest: column id, file"),
    (["CORPUS/good", "--protocol", "YAML per_emotoin: 9"], "unknown key 'per_emotoin'; did you mean 'per_emotion'"),
    (["CORPUS/good", "--protocol", "YAML reference: [tset]"], "no clips in split 'tset'; it has ['test', 'train'"),
    (["CORPUS/good", "--protocol", "YAML floor: none"], "no clips in split 'none'"),
    (["CORPUS/good", "--protocol", "YAML vocabulary: hume"], "unknown vocabulary 'hume'; choose one of hume-10"),
    (["CORPUS/good", "--protocol", "YAML vocabulary: prosody-9"], "CORPUS/good holds no clips"),
    (["CORPUS/good", "--protocol", "YAML published: exvo"], "no published results of 'exvo'; there are those of avb"),
    (["CORPUS/good", "--ratings", "CORPUS/none.csv"], "cannot read the ratings CORPUS/none.csv"),
    (["CORPUS/good", "--ratings", "other=CORPUS/r.csv"], "ratings for 'other', but the systems are good"),
    (["CORPUS/good", "--ratings", "CORPUS/r.csv", "--ratings", "good=CORPUS/r.csv"], "two entries are called 'good'"),
    (["CORPUS/good", "CORPUS/few", "--ratings", "CORPUS/r.csv"], "does not say which system it is of; give NAME=PATH"),
    (["CORPUS/good", "--ratings", "RATED awe/000.wav,Awe,101"], "(r, awe/000.wav, Awe); they must be within 0-1"),
    (["CORPUS/good", "--ratings", "RATED awe/999.wav,Awe,50"], "first 'awe/999.wav'; did you mean"),
    (["CORPUS/good", "--ratings", "RATED awe/000.wav,Aew,50"], "unknown emotion 'Aew'; did you mean 'Awe'?"),
    (["CORPUS/good", "--ratings", "RATED amusement/000.wav,Awe,1"], "r rated amusement/000.wav for Awe twice"),
]


@pytest.fixture(scope="module")
def faulty(corpus: Path) -> Path:
    """Folders and files that cannot be evaluated, beside the good ones."""
    (corpus / "empty" / "awe").mkdir(parents=True)
    shutil.copytree(corpus / "good" / "awe", corpus / "strange" / "aw")
    for name in ("awe", "amusement"):
        (corpus / "broken" / name).mkdir(parents=True)
        for clip in range(10):
            (corpus / "broken" / name / f"{clip}.wav").write_bytes(b"RIFF" if name == "awe" else b"")
    shutil.copytree(corpus / "good" / "awe", corpus / "few" / "awe")
    for clip in range(9, N):
        (corpus / "few" / "awe" / f"{clip:03d}.wav").unlink()
    (corpus / "r.csv").write_text("rater,clip,emotion,rating\nr,amusement/000.wav,Awe,1\n")
    return corpus


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_cannot_be_evaluated_is_said_in_one_line(
    arguments: list[str], message: str, faulty: Path, tmp_path: Path, good: Done, evaluate: Callable[..., Done]
) -> None:
    given = []
    for argument in arguments:
        kind, _, text = argument.partition(" ")
        if kind == "YAML":
            (tmp_path / "own.yaml").write_text(f"base: {faulty / 'own.yaml'}\n{text}\n")
            argument = str(tmp_path / "own.yaml")
        elif kind == "RATED":
            (tmp_path / "rated.csv").write_text((faulty / "r.csv").read_text() + f"r,{text}\n")
            argument = str(tmp_path / "rated.csv")
        given.append(argument.replace("CORPUS", str(faulty)))
    done = evaluate(*given, "--out", tmp_path / "out")
    assert message.replace("CORPUS", str(faulty)) in done.error
    assert not list(tmp_path.glob("out/*"))


def test_an_older_report_outlives_a_failed_run(
    corpus: Path, good: Done, faulty: Path, evaluate: Callable[..., Done]
) -> None:
    before = {path.name: path.read_bytes() for path in (corpus / "first").iterdir()}
    assert "9 clips of Awe" in evaluate(corpus / "few", "--out", corpus / "first").error
    assert {path.name: path.read_bytes() for path in (corpus / "first").iterdir()} == before


def test_a_system_called_like_an_anchor_is_no_report(good: Done) -> None:
    report = report_of(good)
    report["anchors"].append("good")
    with pytest.raises(VocalgenError, match="systems must not be called like an anchor, 'good'"):
        check_report(report)
