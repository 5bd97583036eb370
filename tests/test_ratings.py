"""Files of human ratings: what is read from each form, what is refused, and the row of a report that follows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vocalgen.corpora.table import read_table
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.measured import Measured
from vocalgen.evaluation.protocol import Protocol
from vocalgen.evaluation.rated import rating_row
from vocalgen.evaluation.ratings import Ratings, read_ratings
from vocalgen.evaluation.schema import check_report
from vocalgen.evaluation.targets import targets
from vocalgen.metrics.intervals import Interval

EMOTIONS = ("Amusement", "Awe", "Surprise (Positive)")
RATERS, CLIPS = ("r0", "r1", "r2"), ("amusement/0.wav", "awe/0.wav", "awe/1.wav", "surprise-positive/0.wav")
NAN = float("nan")

# Three raters, four clips, three emotions; the second rater did not rate one clip for one emotion.
MATRIX = np.array(
    [
        [[0.9, 0.2, 0.4], [0.1, 0.7, 0.5], [0.3, 0.6, 0.2], [0.2, 0.3, 0.8]],
        [[0.7, 0.1, 0.3], [0.2, 0.9, 0.4], [0.1, NAN, 0.3], [0.4, 0.2, 1.0]],
        [[0.8, 0.3, 0.1], [0.0, 0.8, 0.6], [0.2, 0.4, 0.1], [0.3, 0.1, 0.6]],
    ]
)
MEANT = np.array([0, 1, 1, 2])

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str, encoding: str = "utf-8", name: str = "ratings.csv") -> Path:
        (tmp_path / name).write_text(text, encoding=encoding)
        return tmp_path / name

    return to_file


def cell(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))


def long_csv(values: np.ndarray, parting: str = ",") -> str:
    """Rows in an order of their own: they are joined by name."""
    rows = [
        parting.join((emotion, cell(values[r, n, e]), rater, clip))
        for r, rater in enumerate(RATERS)
        for n, clip in enumerate(CLIPS)
        for e, emotion in enumerate(EMOTIONS)
    ]
    return "\n".join([parting.join(("emotion", "rating", "rater", "clip")), *rows[::-1]]) + "\n"


def wide_csv(values: np.ndarray, parting: str = ",") -> str:
    order = (2, 0, 1)
    rows = [
        parting.join((clip, rater, *(cell(values[r, n, e]) for e in order)))
        for r, rater in enumerate(RATERS)
        for n, clip in enumerate(CLIPS)
    ]
    return "\n".join([parting.join(("clip", "rater", *(EMOTIONS[e] for e in order))), *rows[::-1]]) + "\n"


def save_npz(path: Path, values: Any = MATRIX, compressed: bool = False, **changes: Any) -> Path:
    arrays = {"values": values, "raters": RATERS, "clips": CLIPS, "emotions": EMOTIONS, **changes}
    (np.savez_compressed if compressed else np.savez)(path, **{key: np.asarray(array) for key, array in arrays.items()})
    return path


def assert_is_matrix(found: Ratings, values: np.ndarray = MATRIX) -> None:
    assert (found.raters, found.clips, found.emotions) == (RATERS, CLIPS, EMOTIONS)
    np.testing.assert_allclose(found.values, values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", [long_csv, wide_csv])
@pytest.mark.parametrize("parting", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # the second one starts with a byte order mark
def test_csv_files_of_every_form(form: Any, parting: str, encoding: str, write: Write) -> None:
    found = read_ratings(write(form(MATRIX, parting), encoding), EMOTIONS, CLIPS)
    assert_is_matrix(found)
    assert found.warnings == []
    expected = np.nanmean(MATRIX, axis=0)
    assert expected[2, 1] == pytest.approx(0.5)  # of two raters
    np.testing.assert_allclose(found.mean(), expected)


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_files(compressed: bool, tmp_path: Path) -> None:
    found = read_ratings(save_npz(tmp_path / "r.npz", compressed=compressed), EMOTIONS, CLIPS)
    assert_is_matrix(found)


def test_an_npz_in_another_order_is_joined_by_name(tmp_path: Path) -> None:
    shuffled = save_npz(tmp_path / "r.npz", MATRIX[::-1, [2, 0, 3, 1]][:, :, [1, 2, 0]], raters=RATERS[::-1],
                        clips=[CLIPS[n] for n in (2, 0, 3, 1)], emotions=[EMOTIONS[e] for e in (1, 2, 0)])  # fmt: skip
    assert_is_matrix(read_ratings(shuffled, EMOTIONS))


@pytest.mark.parametrize("form", [long_csv, wide_csv])
def test_ratings_from_1_to_100_are_brought_to_0_to_1(form: Any, write: Write, tmp_path: Path) -> None:
    percent = np.round(1 + 99 * MATRIX)
    expected = (percent - 1) / 99
    assert_is_matrix(read_ratings(write(form(percent)), EMOTIONS), expected)
    assert_is_matrix(read_ratings(save_npz(tmp_path / "r.npz", percent), EMOTIONS), expected)


def test_the_scale_is_that_of_the_whole_file(write: Write) -> None:
    def value(*given: object) -> list[float]:
        rows = "".join(f"r,awe/{place}.wav,Awe,{rating}\n" for place, rating in enumerate(given))
        return [
            float(rating)
            for rating in read_ratings(write("rater,clip,emotion,rating\n" + rows), EMOTIONS).values.ravel()
        ]

    assert value(1, 100) == [0.0, 1.0]
    assert value(1, 0) == [1.0, 0.0]
    assert value(1, 0.5) == [1.0, 0.5]
    assert value("1e0", " 50.5 ") == [0.0, 0.5]
    with pytest.raises(VocalgenError, match="within 0-1, or within 1-100"):
        value(0.5, 50)  # on neither
    found = read_ratings(write("rater,clip,emotion,rating\nr,awe/0.wav,Awe,1\nr,awe/1.wav,Awe,1\n"), EMOTIONS)
    assert found.values.ravel().tolist() == [1.0, 1.0]
    assert found.warnings[0] == "all ratings are 1: read as the top of the scale 0-1"


def test_the_ends_of_a_scale_that_is_exceeded_are_named(write: Write) -> None:
    text = "rater,clip,Awe,Amusement\nr0,awe/0.wav,50,7\nr1,awe/0.wav,101,1\n"
    expected = "ratings from 1 (r1, awe/0.wav, Amusement) to 101 (r1, awe/0.wav, Awe); they must be within 0-1"
    with pytest.raises(VocalgenError, match=re.escape(expected)):
        read_ratings(write(text), EMOTIONS)


def test_nan_is_a_rating_that_was_not_given(write: Write, tmp_path: Path) -> None:
    text = "rater,clip,Awe,Amusement\nr0,awe/0.wav,0.5,nan\nr1,awe/0.wav,NaN,0.25\nr2,awe/0.wav,,nan\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_ratings(write(text), EMOTIONS)
    assert found.raters == ("r0", "r1")
    np.testing.assert_array_equal(found.values[:, 0], [[NAN, 0.5], [0.25, NAN]])
    only = read_ratings(write("rater,clip,Awe,Amusement\nr0,awe/0.wav,0.5,nan\n"), EMOTIONS)
    assert only.emotions == ("Awe",)  # nobody rated the other
    empty = np.full(MATRIX.shape, NAN)
    for path in (
        write(long_csv(empty)),
        write("rater,clip,Awe\nr,awe/0.wav,nan\n"),
        save_npz(tmp_path / "n.npz", empty),
    ):
        with pytest.raises(VocalgenError, match="holds no ratings"):
            read_ratings(path, EMOTIONS)


def test_a_constant_column_is_warned_of_on_its_own_scale(write: Write) -> None:
    percent = np.round(1 + 99 * MATRIX)
    percent[..., 1] = 40
    found = read_ratings(write(wide_csv(percent)), EMOTIONS)
    assert found.warnings == ["all ratings of Awe are 40: its HEEP is not defined"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("rater,clip,emotion,rating\n", "has no rows"),
        ("rater,clip,Awe,Amusement\nr,awe/0.wav,,\n", "holds no ratings"),
        ("rater,clip,emotion\nr,awe/0.wav,Awe\n", "columns rater, clip, emotion; needed are"),
        ("rater,Awe\nr,0.5\n", "needed are rater, clip"),
        ("rater,clip,Awe,Amusment\nr,awe/0.wav,0.5,0.5\n", "did you mean 'Amusement'?"),
        ("rater:clip:Awe\nr:awe/0.wav:0.5\n", "needed are"),
        ("rater,clip,emotion,rating\nr,awe/0.wav,Aw,0.5\n", "unknown emotion 'Aw'; did you mean 'Awe'?"),
        ("rater,clip,emotion,rating\nr,awe/0.wav,Horror,0.5\n", "unknown emotion 'Horror'"),
        ("rater,clip,emotion,rating\nr,awe/0.wav,Awe,1\nr,awe/0.wav,Pain,1\n", "'Pain'; all that are rated are of the "
         "vocabulary sonata-25 and of emogator-30: is that meant?"),
        ("rater,clip,Awe,Pain\nr,awe/0.wav,1,1\n", "are of the vocabulary sonata-25 and of emogator-30: is"),
        ("rater,clip,Awe\nr,awe/7.wav,0.5\n", "1 rated clips are not among the generated ones, first 'awe/7.wav'; did"),
        ("rater,clip,Awe\nr,awe/0.wav,0.5\nr,awe/0.wav,0.5\n", "row 3: r rated awe/0.wav for Awe twice; keep one"),
        ("rater,clip,emotion,rating\nr,awe/0.wav,Awe,0\nr,awe/0.wav,Awe,1\n", "row 3: r rated awe/0.wav for Awe twice"),
        ("rater,clip,Awe,Awe\nr,awe/0.wav,0.5,0.9\n", "column awe appears twice; keep one"),
        ("rater,clip,Awe\nr,awe/0.wav,0,5\n", "has 4 cells, the header has 3; mend the row, and write decimals with a"),
        ('rater,clip,Awe\nr,awe/0.wav,"0,5"\n', "row 2, column Awe: '0,5' is not a number; write decimals"),
        ("rater,clip,Awe\nr,awe/0.wav,high\n", "row 2, column Awe: 'high' is not a number"),
        ("rater,clip,Awe,Amusement\nr,awe/0.wav,0.5\n", "row 2 has 3 cells, the header has 4"),
        ("rater,clip,Awe\n,awe/0.wav,0.5\n", "row 2: incomplete; every row needs a rater, a clip and its ratings"),
        ("rater,clip,emotion,rating\nr,awe/0.wav,,0.5\n", "row 2: incomplete"),
        ("rater,clip,Awe\nr,awe/0.wav,-0.1\n", "ratings from -0.1"),
        ("rater,clip,Awe\nr,awe/0.wav,0\nq,awe/0.wav,100\n", "ratings from 0 (r, awe/0.wav, Awe) to 100"),
        ("rater,clip,Awe\nr,awe/0.wav,inf\n", "to inf (r, awe/0.wav, Awe)"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused(text: str, message: str, write: Write) -> None:
    path = write(text)
    with pytest.raises(VocalgenError) as refused:
        read_ratings(path, EMOTIONS, CLIPS)
    assert message in str(refused.value) and str(path) in str(refused.value)


def test_bad_npz_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"values": MATRIX[0]}, r"values \(4, 3\) for 3, 4, 3 raters, clips and emotions"),
        ({"raters": ("r0", "r1")}, r"values \(3, 4, 3\) for 2, 4, 3"),
        ({"clips": (*CLIPS[:3], CLIPS[0])}, "whose names must differ"),
        ({"emotions": ("Amusement", "Awe", "Horror")}, "unknown emotion 'Horror'"),
        ({"values": np.array([["x"]])}, "cannot read the ratings"),
        ({"values": np.array([MATRIX, None], dtype=object)}, "cannot read the ratings"),
        ({"values": 2 * MATRIX}, "ratings from 0 .* to 2 "),
    ]
    for changes, message in cases:
        with pytest.raises(VocalgenError, match=message):
            read_ratings(save_npz(path, **{"values": MATRIX, **changes}), EMOTIONS, CLIPS)
    np.savez(path, values=MATRIX)
    with pytest.raises(VocalgenError, match=r"needed are values \(R, N, E\), raters, clips and emotions"):
        read_ratings(path, EMOTIONS)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = save_npz(tmp_path / "r.npz", compressed=True).read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        (tmp_path / "r.npz").write_bytes(whole[:length])
        with pytest.raises(VocalgenError, match="cannot read the ratings"):
            read_ratings(tmp_path / "r.npz", EMOTIONS)
    with open(tmp_path / "r.npz", "wb") as file:
        np.save(file, MATRIX)  # one array, though the name says several
    with pytest.raises(VocalgenError, match="cannot read the ratings"):
        read_ratings(tmp_path / "r.npz", EMOTIONS)
    (tmp_path / "r.csv").write_bytes("rater,clip,Awe\nr,awe/0.wav,0.5\n".encode("utf-16"))
    with pytest.raises(VocalgenError, match=r"r\.csv, row 1: a character is not UTF-8; save the ratings as UTF-8"):
        read_ratings(tmp_path / "r.csv", EMOTIONS)
    for path in (tmp_path / "none.csv", tmp_path / "none.npz", tmp_path):
        with pytest.raises(VocalgenError, match=f"cannot read the ratings {path}"):
            read_ratings(path, EMOTIONS)


def test_target_tables_are_read_alike(write: Write) -> None:
    rated = Ratings(("r",), ("a.wav", "b.wav"), EMOTIONS[:2], np.zeros((1, 2, 2)))
    vocabulary = Vocabulary("three", EMOTIONS)
    for text in ("clip,emotion\nb.wav,awe\na.wav,amusement\n", "clip;awe;amusement\na.wav;0;1\nb.wav;1;0\n"):
        path = write(text, "utf-8-sig")
        np.testing.assert_array_equal(targets(rated, vocabulary, path), [[1, 0], [0, 1]])
    with pytest.raises(VocalgenError, match="column awe appears twice"):
        read_table(write("clip,awe,awe\na.wav,0,1\n"))


def measured(clips: tuple[str, ...] = CLIPS, labels: np.ndarray = MEANT) -> Measured:
    """Clips of which only names and labels matter here."""
    n, names = len(clips), np.array(clips)
    return Measured(labels, names, names, np.zeros((n, 4)), np.zeros((n, 1), np.float16), names, {})


def distances(*frechet: Any) -> dict[str, Any]:
    return {"overall": {}, "emotions": {e: {"frechet": value} for e, value in enumerate(frechet) if value is not None}}


def rated(values: np.ndarray = MATRIX, clips: tuple[str, ...] = CLIPS, emotions: tuple[str, ...] = EMOTIONS) -> Ratings:
    return Ratings(tuple(f"r{place}" for place in range(len(values))), clips, emotions, values)


FID = (4.0, Interval(2.0, 1.5, 2.5), 8.0)


def test_heep_and_s_gen_of_a_known_matrix() -> None:
    """Pearson by numpy over the vectorised matrices; S_GEN by its formula."""
    row, said = rating_row(rated(), measured(), EMOTIONS, [0, 1, 2], distances(*FID), Protocol())
    means, meant = np.nanmean(MATRIX, axis=0), np.eye(3)[MEANT]
    overall = row["overall"]
    assert overall["heep"].value == pytest.approx(np.corrcoef(meant.ravel(), means.ravel())[0, 1])
    assert overall["heep"].low < overall["heep"].value < overall["heep"].high
    assert overall["raters"] == 3 and 0.5 < overall["alpha"] < 1
    expected = []
    for e, fid in enumerate((4.0, 2.0, 8.0)):
        heep = np.corrcoef(meant[:, e], means[:, e])[0, 1]
        entry = row["emotions"][e]
        assert (entry["heep"].value if isinstance(entry["heep"], Interval) else entry["heep"]) == pytest.approx(heep)
        assert entry["s_gen"] == pytest.approx((1 / fid + heep) / 2)
        expected.append(entry["s_gen"])
    assert overall["s_gen"] == pytest.approx(np.mean(expected))
    assert said == []


def test_the_policies_of_the_protocol_count() -> None:
    whole = rating_row(rated(), measured(), EMOTIONS, [0, 1, 2], distances(*FID), Protocol())[0]
    of = {e: whole["emotions"][e]["s_gen"] for e in range(3)}
    lacking = distances(4.0, None, 8.0)
    zero, said = rating_row(rated(), measured(), EMOTIONS, [0, 1, 2], lacking, Protocol())
    assert zero["overall"]["s_gen"] == pytest.approx((of[0] + of[2]) / 3)
    assert said == ["Awe has no FID and counts 0"]
    skip, said = rating_row(rated(), measured(), EMOTIONS, [0, 1, 2], lacking, Protocol(missing_emotion="skip"))
    assert skip["overall"]["s_gen"] == pytest.approx((of[0] + of[2]) / 2)
    assert set(skip["emotions"]) == {0, 2}
    with pytest.raises(VocalgenError, match="S_GEN: Awe has no FID"):
        rating_row(rated(), measured(), EMOTIONS, [0, 1, 2], lacking, Protocol(missing_emotion="error"))
    capped, said = rating_row(rated(), measured(), EMOTIONS, [0, 1, 2], distances(*FID), Protocol(fid_cap=0.25))
    assert capped["emotions"][1]["s_gen"] == pytest.approx(of[1] - (0.5 - 0.25) / 2)
    assert said == ["Awe: 1 / FID 0.5 was capped at 0.25"]
    some = rating_row(rated(), measured(), EMOTIONS, [0, 2], distances(*FID), Protocol())[0]
    assert some["overall"]["s_gen"] == pytest.approx((of[0] + of[2]) / 2)


def check(row: dict[str, Any]) -> None:
    """As the section of a report."""
    entries = {EMOTIONS[e]: entry for e, entry in row["emotions"].items()}
    section = {"kind": "ratings", "encoder": None, "rows": {"a": {"overall": row["overall"], "emotions": entries}}}
    plain = {"systems": ["a"], "anchors": [], "emotions": list(EMOTIONS), "conditions": {}, "warnings": []}
    made = {
        "schema": "vocalgen-evaluation/1",
        **plain,
        "sections": {"ratings": section},
        "confusion": {},
        "between": {},
    }
    check_report(_without_nan({**made, "differences": [], "published": []}))


def _without_nan(value: Any) -> Any:
    """What is not defined is null in a report."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def test_a_constant_column_leaves_a_report_that_can_be_written() -> None:
    values = MATRIX.copy()
    values[..., 1] = 0.5
    row, said = rating_row(rated(values), measured(), EMOTIONS, [0, 1, 2], distances(*FID), Protocol())
    assert np.isnan(row["emotions"][1]["heep"])
    assert row["emotions"][1]["s_gen"] == pytest.approx(1 / 2.0 / 2)  # HEEP counts 0
    assert said == ["HEEP of Awe is not defined: all ratings are equal",
                    "Awe: its HEEP is not defined and counts 0"]  # fmt: skip
    check(row)


def test_clips_of_one_emotion_have_no_heep_of_it() -> None:
    one = measured(labels=np.array([1, 1, 1, 1]))
    row, said = rating_row(rated(), one, EMOTIONS, [0, 1, 2], distances(*FID), Protocol())
    assert "HEEP of Awe is not defined: all targets are equal" in said
    assert np.isfinite(row["overall"]["heep"].value)
    check(row)
    row, said = rating_row(
        rated(MATRIX[:, :, 1:2], emotions=("Awe",)), one, EMOTIONS, [0, 1, 2], distances(*FID), Protocol()
    )
    assert np.isnan(row["overall"]["heep"])
    assert "HEEP of all is not defined: all targets are equal" in said
    assert "Amusement has no HEEP and counts 0" in said
    check(row)


def test_one_rater_gives_a_value_without_agreement() -> None:
    row, _ = rating_row(rated(MATRIX[:1, :2], CLIPS[:2]), measured(), EMOTIONS, [0, 1], distances(*FID), Protocol())
    means, meant = MATRIX[0, :2], np.eye(3)[MEANT[:2]]
    assert row["overall"]["heep"].value == pytest.approx(np.corrcoef(meant.ravel(), means.ravel())[0, 1])
    assert np.isnan(row["overall"]["alpha"])  # nobody to agree with
    check(row)


def test_a_value_that_most_resamples_lack_has_no_limits() -> None:
    """Clip 0 alone was meant and clip 2 alone heard: fewer than half of the resamples hold both."""
    values = MATRIX.copy()
    values[..., 0] = [[0.0, 0.0, 1.0, 0.0]] * 3
    row, said = rating_row(rated(values), measured(), EMOTIONS, [0, 1, 2], distances(*FID), Protocol())
    assert row["emotions"][0]["heep"] == pytest.approx(-1 / 3)
    assert isinstance(row["emotions"][0]["heep"], float) and said == []
    check(row)


def test_clips_that_were_not_measured_or_not_fully_rated_are_left_out() -> None:
    values = np.concatenate([MATRIX, np.full((3, 2, 3), 0.5)], axis=1)
    values[:, 4, 0] = NAN
    clips = (*CLIPS, "awe/8.wav", "awe/9.wav")
    known = measured((*CLIPS, "awe/8.wav"), np.append(MEANT, 1))
    row, said = rating_row(rated(values, clips), known, EMOTIONS, [0, 1, 2], distances(*FID), Protocol())
    expected, _ = rating_row(rated(), measured(), EMOTIONS, [0, 1, 2], distances(*FID), Protocol())
    assert row == expected
    assert said == ["1 rated clips are not among the measured ones",
                    "1 clips were not rated for every emotion and are left out"]  # fmt: skip
    with pytest.raises(VocalgenError, match="none of the rated clips was measured"):
        rating_row(rated(), measured(("x", "y", "z", "w")), EMOTIONS, [0], distances(*FID), Protocol())
    with pytest.raises(VocalgenError, match="no clip was rated for every emotion"):
        rating_row(rated(np.full((1, 4, 3), NAN)), measured(), EMOTIONS, [0], distances(*FID), Protocol())


@pytest.mark.parametrize(("low", "high", "warned"), [(1, 5, True), (1, 7, True), (2, 10, True), (1, 11, False)])
def test_ratings_on_a_short_scale_are_warned_of(low: int, high: int, warned: bool, write: Write) -> None:
    found = read_ratings(write(f"rater,clip,Awe\nr,a.wav,{low}\nr,b.wav,{high}\n"), EMOTIONS)
    assert found.values.max() == pytest.approx((high - 1) / 99)
    told = f"ratings go from {low} to {high} and are read as 1-100, where {high} is {(high - 1) / 99:.2f} of the scale"
    assert [warning.startswith(told) for warning in found.warnings] == [True] * warned


def test_ratings_of_clips_and_emotions_in_other_spellings(write: Write) -> None:
    text = "Rater;Clip;awe;surprise-positive\nr;awe\\00.wav;0,5;1\nq;awe\\00.wav;0,25;0\n;;;\n"
    found = read_ratings(write(text), EMOTIONS, CLIPS)
    assert (found.clips, found.emotions) == (("awe/0.wav",), ("Awe", "Surprise (Positive)"))
    np.testing.assert_allclose(found.values[:, 0], [[0.25, 0.0], [0.5, 1.0]])
    with pytest.raises(VocalgenError, match="columns awe and AWE! are one emotion; keep one"):
        read_ratings(write("rater,clip,awe,AWE!\nr,awe/0.wav,0,1\n"), EMOTIONS)
    rated = Ratings(("r",), ("awe/0.wav",), ("Awe",), np.zeros((1, 1, 1)))
    path = write("CLIP;Emotion\nawe\\00.wav;awe\n")
    np.testing.assert_array_equal(targets(rated, Vocabulary("three", EMOTIONS), path), [[1]])
    with pytest.raises(VocalgenError, match="row 2, column emotion: is blank"):
        targets(rated, Vocabulary("three", EMOTIONS), write("clip,emotion\nawe/0.wav,nan\n"))
