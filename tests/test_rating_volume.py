"""The sound by which raters set their volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bursts import burst

from vocalgen import audio
from vocalgen.emotions import HUME10
from vocalgen.metrics.loudness import integrated_loudness, true_peak
from vocalgen.rating.freeze import LOUDNESS, PEAK_DB, create_study
from vocalgen.rating.study import Settings
from vocalgen.rating.volume import KNEE, SECONDS, volume_sound


def test_it_is_as_loud_as_what_is_rated() -> None:
    wave, rate = audio.decode(volume_sound(), "volume")
    assert len(wave) / rate == SECONDS
    assert integrated_loudness(wave, rate) == pytest.approx(LOUDNESS, abs=0.05)
    assert true_peak(wave, rate) < PEAK_DB


def test_it_falls_as_speech_does() -> None:
    wave, rate = audio.decode(volume_sound(), "volume")
    power = np.abs(np.fft.rfft(wave)) ** 2
    frequencies = np.fft.rfftfreq(len(wave), 1 / rate)

    def octave(lowest: float) -> float:
        return float(10 * np.log10(power[(frequencies >= lowest) & (frequencies < 2 * lowest)].mean()))

    falls = [octave(KNEE * 2**step) - octave(KNEE * 2 ** (step + 1)) for step in range(3)]
    assert falls == pytest.approx([9.0] * 3, abs=1.0)


def test_a_rater_gets_it(tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("httpx2")
    from starlette.testclient import TestClient

    from vocalgen.rating.app import make_app

    audio.write(tmp_path / "clips" / "awe" / "0.wav", burst(0, 0.3, 16_000, 0), 16_000)
    study = create_study(tmp_path / "study", tmp_path / "clips", Settings(emotions=("Awe",), practice=0), 1, HUME10)
    with TestClient(make_app(study, "key", ["http://testserver"])) as client:
        (token,) = client.app.state.store.invite(1)  # type: ignore[attr-defined]
        found = client.get(f"/api/{token}/volume")
        assert (found.headers["content-type"], found.content) == ("audio/wav", volume_sound())
        part = client.get(f"/api/{token}/volume", headers={"range": "bytes=0-3"})
        assert (part.status_code, part.content) == (206, b"RIFF")
        assert client.get("/api/nobody/volume").status_code == 404
