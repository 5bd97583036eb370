"""openSMILE's functionals behind the interface of encoders."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from bursts import burst

from vocalgen import VocalgenError
from vocalgen.recognition.encoders import load_encoder
from vocalgen.recognition.opensmile import SAMPLE_RATE, OpenSmileEncoder

opensmile = pytest.importorskip("opensmile")


@pytest.mark.parametrize(("name", "dimension"), [("ComParE_2016", 6373), ("eGeMAPSv02", 88)])
def test_values_are_those_of_the_package(name: str, dimension: int) -> None:
    encoder = load_encoder(name)
    waves = [burst(kind, 0.5, SAMPLE_RATE, kind) for kind in range(3)]
    scores = encoder.score(waves)
    assert scores.embeddings.shape == (3, dimension) and scores.logits.shape == (3, 0)
    smile = opensmile.Smile(getattr(opensmile.FeatureSet, name), opensmile.FeatureLevel.Functionals)
    expected = smile.process_signal(waves[1], SAMPLE_RATE)
    np.testing.assert_allclose(scores.embeddings[1], np.nan_to_num(expected.to_numpy()[0]), rtol=1e-6)
    assert isinstance(encoder, OpenSmileEncoder) and encoder.columns == list(expected.columns)
    assert encoder.emotions is None and encoder.prepare.sample_rate == SAMPLE_RATE


def test_processes_give_the_same_values_in_order() -> None:
    waves = [burst(number % 3, 0.25, SAMPLE_RATE, number) for number in range(40)]
    one, two = (OpenSmileEncoder("eGeMAPSv02", processes).score(waves).embeddings for processes in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert len(np.unique(one, axis=0)) == 40


def test_score_of_clips_that_are_too_short_is_nan() -> None:
    encoder = OpenSmileEncoder("eGeMAPSv02", 1)
    with np.errstate(all="raise"):
        assert np.isnan(encoder.score([np.full(100, 0.1, dtype=np.float32)]).embeddings).all()
    assert encoder.score([]).embeddings.shape == (0, 88)


def test_checksums_tell_sets_apart() -> None:
    assert OpenSmileEncoder("eGeMAPSv02").checksum != OpenSmileEncoder("ComParE_2016").checksum
    with pytest.raises(VocalgenError, match="unknown feature set 'GeMAPS'; choose one of ComParE_2016"):
        OpenSmileEncoder("GeMAPS")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(VocalgenError, match=r"pip install 'vocalgen\[opensmile\]'"):
        load_encoder("eGeMAPSv02")
