"""`vocalgen embed` and `vocalgen metrics`: the numbers of the library, from files, in one line."""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bursts import burst
from conftest import Command, Line
from small_corpus import EMOTIONS, MEL, RATE, write_corpus

from vocalgen import audio
from vocalgen.cli.main import run as vocalgen
from vocalgen.corpora.manifest import Manifest
from vocalgen.emotions import HUME10, slug
from vocalgen.evaluation.stored import load_embeddings
from vocalgen.metrics import infinity, kernel, manifold
from vocalgen.metrics.agreement import icc_one_way
from vocalgen.metrics.frechet import Statistics, frechet_distance
from vocalgen.metrics.heep import heep
from vocalgen.models.classifier import MelClassifier
from vocalgen.recognition.clips import FolderClips
from vocalgen.recognition.scorer import Scorer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest, an untrained classifier in scorer/, and clips, one of them broken, in clips/."""
    folder = write_corpus(tmp_path_factory.mktemp("corpus")).parent
    torch.manual_seed(0)
    network = MelClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, (4, 6), (16, 24), (1, 1))
    network.save_pretrained(folder / "scorer")
    for emotion, name in enumerate(EMOTIONS.emotions):
        for clip in range(12):
            wave = burst(emotion, 0.3 + 0.02 * clip, RATE, seed=700 + clip)
            audio.write(folder / "clips" / slug(name) / f"{clip:02d}.wav", wave, RATE)
    (folder / "clips" / "awe" / "99.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture(scope="module")
def stored(corpus: Path) -> tuple[Path, Path]:
    """Embeddings of the generated clips and of two splits of the corpus."""
    paths = corpus / "a.npz", corpus / "b.npz"
    sources = [corpus / "clips"], [corpus / "manifest.csv", "--split", "train", "--split", "test"]
    for source, out in zip(sources, paths, strict=True):
        with pytest.raises(SystemExit) as stopped:
            vocalgen(
                ["embed", *map(str, source), "-o", str(out), "--encoder", str(corpus / "scorer"), "--device", "cpu"]
            )
        assert stopped.value.code == 0
    return paths


def write(path: Path, *rows: object) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(row.split(",") if isinstance(row, str) else row for row in rows)  # type: ignore[misc]
    return path


def test_embed_stores_what_the_encoder_says(corpus: Path, stored: tuple[Path, Path]) -> None:
    scorer = Scorer.load(corpus / "scorer")
    clips = FolderClips(corpus / "clips", EMOTIONS)
    found = load_embeddings(stored[0])
    assert len(found) == 36
    assert found.source.checksum == scorer.checksum and found.source.encoder == "scorer"
    assert found.source.emotions == EMOTIONS.emotions == found.source.classes
    assert [line.partition(":")[0] for line in found.source.skipped] == ["awe/99.wav"]
    for place in (0, 13, 35):
        index = clips.ids.index(str(found.ids[place]))
        scores = scorer.score([clips.wave(index, scorer.prepare)])
        assert found.embeddings[place] == pytest.approx(scores.embeddings[0], abs=1e-5)
        assert found.logits[place] == pytest.approx(scores.logits[0], abs=1e-5)
        assert found.labels[place] == clips.labels[index]


def test_embed_takes_splits_of_a_manifest(stored: tuple[Path, Path]) -> None:
    found = load_embeddings(stored[1])
    assert len(found) == (8 + 3) * 3 * 4
    assert set(found.speakers) == {f"s{speaker}" for speaker in (*range(8), 11, 12, 13)}
    assert np.bincount(found.labels).tolist() == [44, 44, 44]


def test_embed_names_unknown_folders_themselves(corpus: Path, tmp_path: Path, done: Line) -> None:
    for name in ("bellow", "awe"):
        audio.write(tmp_path / "clips" / name / "0.wav", burst(1, 0.4, RATE), RATE)
    out = done("embed", tmp_path / "clips", "-o", tmp_path / "e.npz", "--encoder", corpus / "scorer", "--device", "cpu")
    assert out == f"{tmp_path / 'e.npz'}: 2 embeddings of dimension 4 by scorer"
    found = load_embeddings(tmp_path / "e.npz")
    assert found.source.emotions == ("awe", "bellow")
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["CORPUS/clips", "-o", "OUT/e.csv"], "embeddings are written as .npz"),
        (["CORPUS/none", "-o", "OUT/e.npz"], "no such folder of clips and no such manifest"),
        (["CORPUS/scorer", "-o", "OUT/e.npz"], "holds no clips; the layout is"),
        (["CORPUS/manifest.csv", "-o", "OUT/e.npz"], "is a manifest: say which --split"),
        (["CORPUS/clips", "--split", "test", "-o", "OUT/e.npz"], "is a folder and has no splits"),
        (["CORPUS/manifest.csv", "--split", "tset", "-o", "OUT/e.npz"], "no clips in split 'tset'"),
        (["CORPUS/clips", "--encoder", "CORPUS/clips", "-o", "OUT/e.npz"], "no encoder; give a shipped one"),
        (["CORPUS/clips", "--vocabulary", "hume", "-o", "OUT/e.npz"], "unknown vocabulary 'hume'"),
        (["CORPUS/clips", "-o", "CORPUS/manifest.csv/e.npz"], "it is a file; choose a folder"),
    ],
)
def test_embed_refuses_in_one_line(
    arguments: list[str], message: str, corpus: Path, tmp_path: Path, refused: Line
) -> None:
    given = [text.replace("CORPUS", str(corpus)).replace("OUT", str(tmp_path)) for text in arguments]
    given += [] if "--encoder" in given else ["--encoder", str(corpus / "scorer")]
    assert message in refused("embed", *given)
    assert not list(tmp_path.iterdir())


def test_distances_are_those_of_the_library(stored: tuple[Path, Path], done: Line) -> None:
    a, b = stored
    x, y = load_embeddings(a), load_embeddings(b)
    sx, sy = Statistics.of(x.embeddings), Statistics.of(y.embeddings)
    expected = {
        ("fid",): frechet_distance(sx, sy),
        ("fid", "--shrinkage", "0.25"): frechet_distance(sx, sy, 0.25),
        ("fid", "--shrinkage", "ledoit-wolf"): frechet_distance(sx, sy, "ledoit-wolf"),
        ("fd-infinity", "--seed", "3"): infinity.fd_infinity(x.embeddings, sy, seed=3).value,
        ("kad",): kernel.kad(x.embeddings, y.embeddings),
        ("kad", "--bandwidth", "0.5"): kernel.kad(x.embeddings, y.embeddings, 0.5),
        ("kid",): kernel.kid(x.embeddings, y.embeddings),
    }
    for (verb, *options), value in expected.items():
        assert float(done("metrics", verb, a, b, *options)) == pytest.approx(value, rel=1e-5), verb
    lines = dict(line.split() for line in done("metrics", "manifold", a, b, "-k", 3).splitlines())
    assert {name: float(text) for name, text in lines.items()} == pytest.approx(
        manifold.manifold(x.embeddings, y.embeddings, 3)._asdict(), rel=1e-5
    )
    assert float(done("metrics", "vendi", a)) == pytest.approx(manifold.vendi_score(x.embeddings), rel=1e-5)


def test_one_emotion_is_taken_of_both_sides(stored: tuple[Path, Path], done: Line) -> None:
    x, y = (load_embeddings(path) for path in stored)
    parts = [Statistics.of(side.embeddings[side.labels == 2]) for side in (x, y)]
    printed = json.loads(done("metrics", "fid", *stored, "--emotion", "surprise-positive", "--json"))
    assert printed["value"] == pytest.approx(frechet_distance(*parts))
    assert printed["n"] == [12, 44]


def test_json_says_what_the_number_depends_on(stored: tuple[Path, Path], done: Line) -> None:
    found = load_embeddings(stored[0])
    printed = json.loads(done("metrics", "fd-infinity", *stored, "--json"))
    assert printed["n"] == [36, 132]
    assert (printed["encoder"], printed["checksum"]) == ("scorer", found.source.checksum)
    assert printed["sizes"][0] == 36 or printed["sizes"][-1] == 36
    assert len(printed["distances"]) == len(printed["sizes"]) and printed["metric"] == "fd-infinity"
    printed = json.loads(done("metrics", "kad", *stored, "--permutations", 20, "--json"))
    assert 1 / 21 <= printed["p"] <= 1


def test_statistics_files_and_official_pickles_stand_in_for_embeddings(
    stored: tuple[Path, Path], tmp_path: Path, done: Line
) -> None:
    a, b = stored
    y = load_embeddings(b).embeddings
    plain = done("metrics", "fid", a, b)
    assert done("metrics", "statistics", b, "-o", tmp_path / "s.npz").endswith(": 132 embeddings of dimension 4")
    assert done("metrics", "fid", a, tmp_path / "s.npz") == plain
    with open(tmp_path / "official.pkl", "wb") as file:
        pickle.dump({"mu": y.mean(axis=0), "sigma": np.cov(y.T)}, file)
    printed = json.loads(done("metrics", "fid", a, tmp_path / "official.pkl", "--json"))
    assert printed["value"] == pytest.approx(float(plain), rel=1e-5)
    assert printed["n"] == [36, None]
    assert done("metrics", "fd-infinity", a, tmp_path / "official.pkl") == done("metrics", "fd-infinity", a, b)
    done("metrics", "statistics", a, b, "-o", tmp_path / "both.npz")
    both = np.concatenate([load_embeddings(a).embeddings, y])
    expected = frechet_distance(Statistics.of(both), Statistics.of(y))
    assert float(done("metrics", "fid", tmp_path / "both.npz", b)) == pytest.approx(expected, rel=1e-5)


def test_sets_that_cannot_be_compared_are_refused(
    corpus: Path, stored: tuple[Path, Path], tmp_path: Path, refused: Line, done: Line
) -> None:
    a, b = stored
    torch.manual_seed(1)
    network = MelClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, (4, 6), (16, 24), (1, 1))
    network.save_pretrained(tmp_path / "other")
    done("embed", corpus / "clips", "-o", tmp_path / "o.npz", "--encoder", tmp_path / "other", "--device", "cpu")
    assert "embeddings of two encoders cannot be compared" in refused("metrics", "fid", a, tmp_path / "o.npz")
    with open(tmp_path / "official.pkl", "wb") as file:
        pickle.dump({"mu": np.zeros(256), "sigma": np.eye(256)}, file)
    official = tmp_path / "official.pkl"
    assert "embeddings differ in dimension: 4 and 256" in refused("metrics", "fid", a, official)
    assert "holds statistics only" in refused("metrics", "kad", a, official)
    assert "does not say of how many clips" in refused("metrics", "statistics", official, "-o", tmp_path / "s.npz")
    assert "got 36 and 132" in refused("metrics", "manifold", a, b, "-k", 36)
    assert "--shrinkage some" in refused("metrics", "fid", a, b, "--shrinkage", "some")
    assert "shrinkage must lie in" in refused("metrics", "fid", a, b, "--shrinkage", 2)
    assert "did you mean" in refused("metrics", "fid", a, b, "--emotion", "amusment")
    assert "cannot read" in refused("metrics", "fid", a, tmp_path / "none.npz")


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """Three raters, two clips of each of three HUME emotions, heard as meant but for one clip, 1-100."""
    rows: list[object] = [["rater", "clip", "Awe", "Fear", "Triumph"]]
    rng = np.random.default_rng(0)
    for rater in range(3):
        for index in range(6):
            values = rng.integers(5, 20, 3)
            values[index % 3 if index != 5 else 0] = rng.integers(80, 100)
            rows.append([f"r{rater}", f"{('awe', 'fear', 'triumph')[index % 3]}/{index}.wav", *values])
    return write(tmp_path / "ratings.csv", *rows)


def heard(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Targets and mean ratings of that file, read without the library."""
    with open(path) as file:
        rows = list(csv.DictReader(file))
    clips = sorted({row["clip"] for row in rows})
    names = ("Awe", "Fear", "Triumph")
    mean = [[np.mean([float(row[name]) for row in rows if row["clip"] == clip]) for name in names] for clip in clips]
    return np.array([[clip.startswith(name.lower()) for name in names] for clip in clips], float), np.array(mean)


def test_heep_from_folder_names_and_from_a_table(ratings: Path, tmp_path: Path, done: Line) -> None:
    targets, means = heard(ratings)
    overall = np.corrcoef(targets.ravel(), means.ravel())[0, 1]
    assert float(done("metrics", "heep", ratings)) == pytest.approx(overall, rel=1e-5)
    column = np.corrcoef(targets[:, 2], means[:, 2])[0, 1]
    assert float(done("metrics", "heep", ratings, "--emotion", "triumph")) == pytest.approx(column, rel=1e-5)
    row = np.corrcoef(targets[4:].ravel(), means[4:].ravel())[0, 1]
    option = ("--emotion", "Triumph", "--reading", "row")
    assert float(done("metrics", "heep", ratings, *option)) == pytest.approx(row, rel=1e-5)
    # Another assignment, and one by intensities in another order of rows.
    meant = ["awe/0.wav,fear", "awe/3.wav,fear", "fear/1.wav,AWE", "fear/4.wav,awe", "triumph/2.wav,horror"]
    table = write(tmp_path / "t.csv", "clip,emotion", *meant, "triumph/5.wav,Triumph", "unrated,awe")
    swapped = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]], float)
    expected = heep(swapped, means).overall
    assert float(done("metrics", "heep", ratings, "--targets", table)) == pytest.approx(expected, rel=1e-5)
    soft = swapped * 0.7 + 0.1
    names = ("awe/0.wav", "awe/3.wav", "fear/1.wav", "fear/4.wav", "triumph/2.wav", "triumph/5.wav")
    rows = [[name, *values] for name, values in zip(names, soft, strict=True)][::-1]
    table = write(tmp_path / "s.csv", ["clip", "awe", "fear", "triumph"], *rows)
    assert float(done("metrics", "heep", ratings, "--targets", table)) == pytest.approx(expected, rel=1e-5)


def test_the_vocabulary_is_that_of_the_ratings(tmp_path: Path, done: Line, refused: Line) -> None:
    rows = [f"{rater},{clip}" for rater in "ab" for clip in ("guilt/0.wav,1,0", "pride/0.wav,0,1")]
    found = write(tmp_path / "r.csv", "rater,clip,Guilt,Pride", *rows)
    assert float(done("metrics", "heep", found)) == 1.0 == float(done("metrics", "agreement", found))
    assert "of the vocabulary emogator-30" in refused("metrics", "heep", found, "--vocabulary", "hume-10")
    both = write(tmp_path / "both.csv", "rater,clip,Awe,Fear", "a,1.wav,1,0", "a,2.wav,0,1", "a,3.wav,0,0")
    meant = write(tmp_path / "meant.csv", "clip,emotion", "1.wav,Awe", "2.wav,Fear", "3.wav,Guilt")  # not of hume-10
    assert float(done("metrics", "heep", both, "--targets", meant)) == 1.0
    other = write(tmp_path / "other.csv", "rater,clip,Guilt,Boredom", "a,guilt/0.wav,1,0")
    assert "needed are rater, clip, emotion, rating" in refused("metrics", "heep", other)


def test_heep_in_json_has_intervals_and_reasons(ratings: Path, tmp_path: Path, done: Line) -> None:
    printed = json.loads(done("metrics", "heep", ratings, "--json", "--draws", 200))
    low, high = printed["interval"]
    assert low < printed["value"] < high <= 1
    assert (printed["clips"], printed["raters"], set(printed["emotions"])) == (6, 3, {"Awe", "Fear", "Triumph"})
    flat = write(tmp_path / "flat.csv", "rater,clip,Awe,Fear", "r,awe/0.wav,50,9", "r,fear/1.wav,50,80")
    printed = json.loads(done("metrics", "heep", flat, "--json", "--draws", 0))
    assert printed["emotions"] == {"Awe": None, "Fear": pytest.approx(1.0)}
    assert printed["reasons"] == {"Awe": "all ratings are equal"} and "interval" not in printed


def test_clips_that_were_not_fully_rated_are_left_out(ratings: Path, tmp_path: Path, done: Line) -> None:
    before = done("metrics", "heep", ratings)
    ratings.write_text(ratings.read_text() + "r0,awe/9.wav,50,,\n")
    assert done("metrics", "heep", ratings) == before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["clip,emotion", "awe/0.wav,awe"], "lacks 5 rated clips, the first is awe/3.wav"),
        (["clip,emotion", *[f"{name},joy" for name in ("awe/0.wav", "awe/3.wav")]], "lacks 4 rated clips"),
        (["clip,emotion", "awe/0.wav,awe", "awe/0.wav,fear"], "clip awe/0.wav is there twice"),
        (["clip,emotion", "awe/0.wav"], "row 2 has 1 cell, the header has 2"),
        (["file,emotion", "awe/0.wav,awe"], "column clip is missing; its first line has file, emotion"),
        (["clip,emotion"], "has no rows"),
        (["ALL", "2"], "every intensity must be a number from 0 to 1"),
        (["ALL", ""], "every intensity must be a number from 0 to 1"),
        (["ALL", "x"], "'x' is not a number"),
    ],
)
def test_bad_targets_are_refused(rows: list[str], message: str, ratings: Path, tmp_path: Path, refused: Line) -> None:
    if rows[0] == "ALL":
        names = ("awe/0.wav", "awe/3.wav", "fear/1.wav", "fear/4.wav", "triumph/2.wav", "triumph/5.wav")
        rows = ["clip,Awe", *(f"{name},{rows[1]}" for name in names)]
    assert message in refused("metrics", "heep", ratings, "--targets", write(tmp_path / "t.csv", *rows))


def test_rating_verbs_refuse_in_one_line(ratings: Path, tmp_path: Path, refused: Line) -> None:
    bare = write(tmp_path / "bare.csv", "rater,clip,Awe", "r,1.wav,0.5")
    assert "clip '1.wav' has no emotion folder in its name" in refused("metrics", "heep", bare)
    strange = write(tmp_path / "strange.csv", "rater,clip,Awe", "r,wae/1.wav,0.5")
    assert "did you mean" in refused("metrics", "heep", strange)
    assert "--reading both" in refused("metrics", "heep", ratings, "--reading", "both")
    horror = refused("metrics", "heep", ratings, "--emotion", "horror")
    assert "nothing was rated for Horror; there are ratings of Awe" in horror
    assert "--measure beta: choose alpha, icc1" in refused("metrics", "agreement", ratings, "--measure", "beta")
    assert "cannot read the ratings" in refused("metrics", "agreement", tmp_path / "none.csv")
    ratings.write_text(ratings.read_text() + "r0,awe/9.wav,50,,\n")
    assert "complete ratings" in refused("metrics", "agreement", ratings, "--measure", "icc2")


def test_agreement_of_the_textbook(tmp_path: Path, done: Line) -> None:
    # The ratings of Shrout and Fleiss (1979, table 2): ICC(2, 1) is .29, ICC(3, k) .91.
    table = ([9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7])
    rows = [[f"r{r}", f"{n}.wav", value] for r, values in enumerate(table) for n, value in enumerate(values)]
    path = write(tmp_path / "r.csv", ["rater", "clip", "Fear"], *rows)
    assert float(done("metrics", "agreement", path, "--measure", "icc2")) == pytest.approx(0.29, abs=0.005)
    of_one = done("metrics", "agreement", path, "--measure", "icc3k", "--emotion", "fear")
    assert float(of_one) == pytest.approx(0.91, abs=0.005)
    printed = json.loads(done("metrics", "agreement", path, "--json"))
    assert (printed["metric"], printed["raters"], printed["items"]) == ("alpha", 4, 6)
    assert printed["value"] < 0.29  # the levels of the raters differ
    some = write(tmp_path / "some.csv", ["rater", "clip", "Fear"], *rows[:-1], ["r3", "other.wav", 5])
    assert float(done("metrics", "agreement", some, "--measure", "icc1")) == pytest.approx(
        icc_one_way([[*row, np.nan] for row in table[:3]] + [[8, 2, 8, 6, 9, np.nan, 5]]).icc1, rel=1e-4
    )


def test_s_gen_of_the_published_row(tmp_path: Path, root: Path, done: Line, refused: Line) -> None:
    with open(root / "eval" / "published" / "exvo-generate.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == "6b"]
    cells = {(row["emotion"], row["metric"]): row["value"] for row in rows}
    lines = [[name, cells.get((name, "FID"), ""), cells.get((name, "HEEP"), "")] for name in HUME10.emotions]
    table = write(tmp_path / "t.csv", ["emotion", "fid", "heep"], *lines)
    assert float(done("metrics", "s-gen", table)) == pytest.approx(0.1725, abs=0.002)
    printed = json.loads(done("metrics", "s-gen", table, "--json", "--missing", "skip"))
    assert "Triumph" not in printed["emotions"]
    assert printed["value"] == pytest.approx(np.mean(list(printed["emotions"].values())))
    assert "Triumph has no FID" in refused("metrics", "s-gen", table, "--missing", "error")
    assert "--missing none: choose zero, skip, error" in refused("metrics", "s-gen", table, "--missing", "none")
    capped = write(tmp_path / "c.csv", "emotion,fid,heep", "awe,0.01,nan", "fear,NA,NA")
    assert float(done("metrics", "s-gen", capped, "--cap", 1)) == pytest.approx(0.05)
    assert done("metrics", "s-gen", capped, "--undefined", "nan") == "nan"
    assert json.loads(done("metrics", "s-gen", capped, "--undefined", "nan", "--json"))["value"] is None
    wrong = write(tmp_path / "w.csv", "emotion,fid,heep", "awe,-1,0.5")
    assert "the Fréchet distance must be positive" in refused("metrics", "s-gen", wrong)


def pairs(tmp_path: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    t = rng.normal(size=60)
    p = 0.5 * t + rng.normal(size=60)
    order = rng.permutation(60)
    truth = write(tmp_path / "t.csv", ["clip", "speaker", "awe", "country"],
                  *([f"c{i}", f"s{i // 6}", t[i], "China" if i % 3 == 1 else "USA"] for i in range(60)))  # fmt: skip
    prediction = write(tmp_path / "p.csv", ["awe", "clip", "country"], *([p[i], f"c{i}", "USA"] for i in order))
    return truth, prediction, t, p


def test_scores_join_on_ids_and_not_on_order(tmp_path: Path, done: Line) -> None:
    truth, prediction, t, p = pairs(tmp_path)
    expected = {
        "ccc": 2 * np.cov(t, p, ddof=0)[0, 1] / (t.var() + p.var() + (t.mean() - p.mean()) ** 2),
        "pearson": np.corrcoef(t, p)[0, 1],
        "spearman": np.corrcoef(t.argsort().argsort(), p.argsort().argsort())[0, 1],
        "mae": np.abs(t - p).mean(),
    }
    for verb, value in expected.items():
        assert float(done("metrics", verb, truth, prediction, "--column", "awe")) == pytest.approx(value, rel=1e-5), (
            verb
        )
    assert float(done("metrics", "uar", truth, prediction, "--column", "country")) == 0.5
    official = float(done("metrics", "ccc", truth, prediction, "--column", "awe", "--compat", "hume2022"))
    assert official == round(official, 4) < expected["ccc"]
    options = ("--column", "awe", "--clusters", "speaker", "--json", "--draws", 200)
    printed = json.loads(done("metrics", "pearson", truth, prediction, *options))
    low, high = printed["interval"]
    assert low < printed["value"] < high and printed["n"] == 60 and printed["clusters"] == "speaker"
    assert json.loads(done("metrics", "uar", truth, prediction, "--column", "country", "--json"))["interval"] == [
        0.5,
        0.5,
    ]


def test_tables_that_do_not_match_are_refused(tmp_path: Path, refused: Line) -> None:
    truth, prediction, *_ = pairs(tmp_path)
    for message, verb, *options in (
        ("t.csv: column fear is missing", "mae", "--column", "fear"),
        ("column file is missing", "mae", "--column", "awe", "--id", "file"),
        ("t.csv, row 2, column country: 'USA' is not a number", "mae", "--column", "country"),
        ("--compat hume: choose hume2022", "ccc", "--column", "awe", "--compat", "hume"),
        ("column town is missing", "ccc", "--column", "awe", "--clusters", "town"),
    ):
        assert message in refused("metrics", verb, truth, prediction, *options)
    lines = prediction.read_text().splitlines()
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(lines[:-2]))
    assert "fewer.csv lacks 2 ids of" in refused("metrics", "mae", truth, fewer, "--column", "awe")
    assert "fewer.csv lacks 2 ids of" in refused("metrics", "mae", fewer, truth, "--column", "awe")
    blank = tmp_path / "blank.csv"
    blank.write_text("\n".join([*lines[:-1], "," + lines[-1].split(",", 1)[1]]))
    assert "NaN or infinity" in refused("metrics", "mae", truth, blank, "--column", "awe")


def test_s_mtl(done: Line, refused: Line) -> None:
    given = ("--ccc", 0.416, "--uar", 0.506, "--mae", 4.22)
    assert float(done("metrics", "s-mtl", *given)) == pytest.approx(0.349, abs=0.0005)
    assert float(done("metrics", "s-mtl", *given, "--literal")) == pytest.approx(0.650, abs=0.0005)
    assert "MAE of at least 0" in refused("metrics", "s-mtl", "--ccc", 0.4, "--uar", 0.5, "--mae", -1)


def test_every_verb_explains_itself(done: Line) -> None:
    listing = done("metrics", "--help")
    verbs: Any = ("fid", "fd-infinity", "kad", "kid", "manifold", "vendi", "statistics", "heep", "s-gen", "agreement",
                  "ccc", "pearson", "spearman", "mae", "uar", "s-mtl")  # fmt: skip
    for verb in verbs:
        assert verb in listing
        assert "--json" in done("metrics", verb, "--help") or verb == "statistics"


def test_metrics_read_semicolons_decimal_commas_and_ids_without_zeros(tmp_path: Path, done: Line) -> None:
    truth = write(tmp_path / "t.csv", "clip,x", "01,0.1", "02,0.5", "03,0.3")
    (tmp_path / "p.csv").write_text("\ufeffClip;X\r\n3;0,3\r\n2;0,4\r\n1;0,1\r\n;\r\n", encoding="utf-8")
    plain = write(tmp_path / "q.csv", "clip,x", "01,0.1", "02,0.4", "03,0.3")
    expected = done("metrics", "ccc", truth, plain, "--column", "x")
    assert done("metrics", "ccc", truth, tmp_path / "p.csv", "--column", "x") == expected


def test_metrics_uar_refuses_blank_classes(tmp_path: Path, refused: Line) -> None:
    truth = write(tmp_path / "t.csv", "clip,type", "1,laugh", "2,nan")
    said = refused("metrics", "uar", truth, truth, "--column", "type")
    assert "t.csv, row 3, column type: is blank; fill it in, or leave the clip out of both files" in said


def test_embed_keeps_clips_without_labels(corpus: Path, tmp_path: Path, command: Command) -> None:
    made = Manifest.load(corpus / "manifest.csv")
    rows = [replace(clip, intensities=(float("nan"),) * 3) if clip.split == "test" else clip for clip in made]
    replace(made, rows=tuple(rows)).save(tmp_path / "m.csv")
    out = tmp_path / "e.npz"
    code, _, said = command("embed", tmp_path / "m.csv", "--split", "test", "-o", out, "--encoder", corpus / "scorer")
    assert code == 0 and "36 of the 36 clips have no label; metrics of one emotion leave them out" in said
    assert set(load_embeddings(out).labels) == {-1}
    assert float(command("metrics", "vendi", out)[1]) > 1
    assert "none of the 36 clips is of Awe" in command("metrics", "vendi", out, "--emotion", "awe")[2]
