"""Protocols: what the shipped ones say, that each value of a file counts, and that wrong ones name their key."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from vocalgen.emotions import EMOGATOR30, HUME10, get_vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.protocol import Protocol, load_protocol, shipped_folder
from vocalgen.evaluation.published import published


def load(text: str, folder: Path) -> Protocol:
    (folder / "own.yaml").write_text(text, encoding="utf-8")
    return load_protocol(str(folder / "own.yaml"))


def test_exvo_generate_is_the_task() -> None:
    """Ten classes of a hundred clips, against real clips whose speakers are not those of the floor (2205.01780)."""
    protocol = load_protocol("exvo_generate")
    assert get_vocabulary(protocol.vocabulary) is HUME10
    assert len(HUME10) == 10 and protocol.emotions == ()  # all ten
    assert protocol.per_emotion == 100
    assert {*protocol.reference, protocol.floor} == {"train", "validation"}  # either stands on one side
    assert protocol.floor not in protocol.reference
    assert (protocol.missing_emotion, protocol.fid_cap) == ("zero", None)  # the official rules of S_GEN
    rows = published(protocol.published)
    assert {row["system"] for row in rows} >= {"organisers", "Resemble", "StyleMelMila"}


def test_emogator_has_thirty_classes_and_other_speakers() -> None:
    protocol = load_protocol("emogator")
    assert get_vocabulary(protocol.vocabulary) is EMOGATOR30
    assert len(EMOGATOR30) == 30 and protocol.emotions == ()
    assert protocol.per_emotion == 100
    assert protocol.reference == ("test",) and protocol.floor == "train"
    assert protocol.published == ""  # nobody has published results of it


@pytest.mark.parametrize("name", ["emogator", "exvo_generate"])
def test_both_are_reproducible_and_can_tell_a_copy(name: str) -> None:
    protocol = load_protocol(name)
    assert (protocol.seed, protocol.memory, protocol.shrinkage) == (0, True, "auto")
    assert protocol.draws > 1  # a floor of one draw would be as noisy as the systems
    assert protocol.encoders == ("emogator-classifier-24k",)


def test_only_protocols_with_a_file_have_a_name() -> None:
    folder = shipped_folder("protocols")
    assert folder is not None
    for file in folder.glob("*.yaml"):
        assert load_protocol(file.stem) == load_protocol(str(file))
    with pytest.raises(VocalgenError, match=r"no protocol 'exvo-generate'; choose emogator, exvo_generate"):
        load_protocol("exvo-generate")
    with pytest.raises(VocalgenError, match="no protocol"):
        load_protocol(str(folder))  # a folder is no file
    assert shipped_folder("no such folder") is None


def test_every_value_of_a_file_counts(tmp_path: Path) -> None:
    text = """
vocabulary: hume-10
emotions: [Awe, fear]
per_emotion: 12
reference: [validation, test]
floor: other
draws: 2
encoders: [here, there]
shrinkage: none
neighbours: 3
permutations: 50
memory: false
missing_emotion: skip
fid_cap: 2
published: sonata
seed: 7
"""
    expected = Protocol(
        "hume-10", ("Awe", "fear"), 12, ("validation", "test"), "other", 2, ("here", "there"), "none", 3, 50, False,
        "skip", 2.0, "sonata", 7,
    )  # fmt: skip
    found = load(text, tmp_path)
    assert found == expected
    defaults = Protocol()
    for field in fields(Protocol):
        assert getattr(found, field.name) != getattr(defaults, field.name), field.name
    assert load("", tmp_path) == defaults
    assert load("fid_cap: null", tmp_path).fid_cap is None


def test_a_file_may_change_a_shipped_one(tmp_path: Path) -> None:
    folder = shipped_folder("protocols")
    assert folder is not None
    changed = load(f"base: {folder / 'exvo_generate.yaml'}\nreference: [train]\nfloor: validation\n", tmp_path)
    assert (changed.reference, changed.floor, changed.vocabulary) == (("train",), "validation", "hume-10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("per_emotoin: 100", "unknown key 'per_emotoin'; did you mean 'per_emotion'"),
        ("Reference: [test]", "unknown key 'Reference'; did you mean 'reference'"),
        ("per_emotion: many", "per_emotion: expected int, got 'many'"),
        ("per_emotion: 10.5", "per_emotion: expected int, got 10.5"),
        ("per_emotion: true", "per_emotion: expected int, got True"),
        ("per_emotion: -1", "per_emotion is -1; it must be at least 1"),
        ("draws: 0", "draws is 0; it must be at least 1"),
        ("neighbours: 0", "neighbours is 0"),
        ("permutations: 0", "permutations is 0"),
        ("seed: -1", "seed is -1; it must be at least 0"),
        ("seed: null", "seed: expected int, got None"),
        ("reference: test", "reference: expected a list, got 'test'"),
        ("reference: []", "at least one reference split"),
        ("reference: [test, test]", "reference has 'test' twice"),
        ("reference: [1]", "reference: expected str, got 1"),
        ("encoders: []", "one encoder"),
        ("encoders: [a, b, a]", "encoders has 'a' twice"),
        ("emotions: Awe", "emotions: expected a list, got 'Awe'"),
        ("emotions: [Surprise (Positive), surprise-positive]", "emotions has 'surprise-positive' twice"),
        ("memory: sometimes", "memory: expected bool, got 'sometimes'"),
        ("shrinkage: Auto", "shrinkage is 'Auto'; choose none, ledoit-wolf, auto"),
        ("missing_emotion: 0", "missing_emotion: expected str, got 0"),
        ("missing_emotion: zeros", "missing_emotion is 'zeros'; choose zero, skip, error"),
        ("fid_cap: 0", "fid_cap is 0; it must be above 0, or null"),
        ("fid_cap: .nan", "fid_cap is nan"),
        ("fid_cap: no cap", "fid_cap: expected float, got 'no cap'"),
        ("- a\n- list", "expected `key: value` lines"),
        ("per_emotion: [1", "not valid YAML"),
        ("base: none.yaml", "cannot read configuration"),
        ("base: [own.yaml]", "`base` must be the name of a file"),
    ],
)
def test_what_is_wrong_names_its_key(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError) as refused:
        load(text, tmp_path)
    assert message in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VocalgenError, match="cannot read configuration"):
        load_protocol(str(tmp_path / "own.yaml"))
