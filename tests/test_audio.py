"""Audio files of every kind people have, and the bad ones."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalgen import VocalgenError, audio


def tone(seconds: float = 0.5, rate: int = 24_000, level: float = 0.5, hertz: float = 440.0) -> audio.Wave:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def one_line_error(action: object, *arguments: object) -> str:
    with pytest.raises(VocalgenError) as caught:
        action(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", audio.FORMATS)
def test_round_trip_of_every_format(tmp_path: Path, kind: str) -> None:
    wave = tone()
    audio.write(tmp_path / f"clip.{kind}", wave, 24_000)
    back, rate = audio.read(tmp_path / f"clip.{kind}", 24_000)
    assert rate == 24_000 and back.dtype == np.float32 and back.ndim == 1
    assert abs(len(back) - len(wave)) <= (0 if kind in ("wav", "flac") else 2400)
    if kind in ("wav", "flac"):
        assert np.abs(back - wave).max() < 1e-4
    spectrum = np.abs(np.fft.rfft(back, 24_000))
    assert spectrum.argmax() == pytest.approx(440, abs=2)
    assert np.abs(back).max() == pytest.approx(0.5, abs=0.08)
    assert [entry.name for entry in tmp_path.iterdir()] == [f"clip.{kind}"]


def test_explicit_format_wins_over_suffix(tmp_path: Path) -> None:
    audio.write(tmp_path / "clip.take1", tone(), 24_000, format="FLAC")
    assert soundfile.info(tmp_path / "clip.take1").format == "FLAC"


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_any_rate_and_channel_count(tmp_path: Path, channels: int, rate: int) -> None:
    wave = tone(rate=rate)
    soundfile.write(tmp_path / "clip.wav", np.stack([wave] * channels, axis=1), rate, subtype="FLOAT")
    native, native_rate = audio.read(tmp_path / "clip.wav")
    assert native_rate == rate and np.abs(native - wave).max() < 1e-6
    back, _ = audio.read(tmp_path / "clip.wav", 24_000)
    assert len(back) == 12_000
    assert np.abs(back - tone())[1000:-1000].max() < 1e-3


def test_channels_are_averaged(tmp_path: Path) -> None:
    wave = tone()
    soundfile.write(tmp_path / "clip.wav", np.stack([wave, 0 * wave], axis=1), 24_000, subtype="FLOAT")
    assert np.abs(audio.read(tmp_path / "clip.wav")[0] - wave / 2).max() < 1e-6


def test_one_sample(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.array([0.5]), 44_100, subtype="FLOAT")
    wave, _ = audio.read(tmp_path / "clip.wav", 24_000)
    assert wave.shape == (1,)
    assert audio.trim(wave, 24_000) == (0, 1)
    assert audio.trim_silence(wave, 24_000).shape == (1,)
    assert audio.inspect(tmp_path / "clip.wav").flags == ("silent", "short")


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "nothing.wav").write_bytes(b"")
    (tmp_path / "garbage.mp3").write_bytes(bytes(range(256)) * 8)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 24_000)
    nan = tone()
    nan[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", nan, 24_000, subtype="FLOAT")
    assert "not a file" in one_line_error(audio.read, tmp_path / "missing.wav")
    assert "not a file" in one_line_error(audio.read, tmp_path)
    for name in ("text.wav", "nothing.wav", "garbage.mp3"):
        assert "cannot read" in one_line_error(audio.read, tmp_path / name)
        assert audio.inspect(tmp_path / name).flags == ("unreadable",)
    assert "no audio" in one_line_error(audio.read, tmp_path / "empty.wav")
    assert audio.inspect(tmp_path / "empty.wav").flags == ("empty",)
    assert "NaN" in one_line_error(audio.read, tmp_path / "nan.wav")
    assert audio.inspect(tmp_path / "nan.wav").flags == ("unreadable",)
    assert audio.inspect(tmp_path / "missing.wav").flags == ("unreadable",)


def test_truncated_file(tmp_path: Path) -> None:
    audio.write(tmp_path / "clip.flac", tone(2.0), 24_000)
    whole = (tmp_path / "clip.flac").read_bytes()
    (tmp_path / "clip.flac").write_bytes(whole[:40])
    assert set(audio.inspect(tmp_path / "clip.flac").flags) & {"unreadable", "empty"}


def test_write_refuses_what_it_cannot_keep(tmp_path: Path) -> None:
    nan = tone()
    nan[0] = np.nan
    assert "NaN" in one_line_error(audio.write, tmp_path / "clip.wav", nan, 24_000)
    assert "empty" in one_line_error(audio.write, tmp_path / "clip.wav", np.zeros(0), 24_000)
    assert "shape" in one_line_error(audio.write, tmp_path / "clip.wav", np.zeros((2, 8)), 24_000)
    assert "choose one of wav, flac" in one_line_error(audio.write, tmp_path / "clip.aiff", tone(), 24_000)
    assert "choose one of" in one_line_error(audio.write, tmp_path / "clip", tone(), 24_000)
    assert "48000" in one_line_error(audio.write, tmp_path / "clip.opus", tone(), 44_100)
    assert "cannot write" in one_line_error(audio.write, tmp_path / "clip.wav", tone(), -1)
    assert list(tmp_path.iterdir()) == []


def test_write_clips(tmp_path: Path) -> None:
    audio.write(tmp_path / "clip.wav", np.array([2.0, -2.0, 0.0]), 24_000)
    assert np.abs(audio.read(tmp_path / "clip.wav")[0]).max() == pytest.approx(1.0, abs=1e-4)


def test_unwritable_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    assert "file" in one_line_error(audio.write, tmp_path / "file" / "clip.wav", tone(), 24_000)

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left" in one_line_error(audio.write, tmp_path / "clip.wav", tone(), 24_000)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert "cannot write" in one_line_error(audio.write, folder / "clip.wav", tone(), 24_000)


def test_read_only_system_folder() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc")
    assert "cannot write /proc/clip.wav" in one_line_error(audio.write, "/proc/clip.wav", tone(), 24_000)


def test_resample() -> None:
    assert np.abs(audio.resample(tone(rate=48_000), 48_000, 24_000) - tone())[500:-500].max() < 1e-3
    assert len(audio.resample(np.zeros(44_101), 44_100, 24_000)) == 24_001
    same = tone()
    assert np.array_equal(audio.resample(same, 24_000, 24_000), same)
    assert "positive" in one_line_error(audio.resample, same, 24_000, 0)
    hiss = tone(hertz=11_000.0, rate=48_000)  # above 8 kHz: must vanish at 16 kHz, not alias
    assert np.abs(audio.resample(hiss, 48_000, 16_000))[500:-500].max() < 1e-3


def test_peak_normalise() -> None:
    assert np.abs(audio.peak_normalise(tone(level=0.01))).max() == pytest.approx(0.7079, abs=1e-4)
    assert np.abs(audio.peak_normalise(-3 * tone(), 0.0)).max() == pytest.approx(1.0, abs=1e-5)
    silence = np.zeros(100, np.float32)
    assert np.array_equal(audio.peak_normalise(silence), silence)
    assert audio.peak_normalise(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_trim_finds_the_sound(rate: int) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-4, 2 * rate).astype(np.float32)
    wave = noise.copy()
    wave[rate // 2 : rate] += tone(0.5, rate)[: rate - rate // 2]
    start, end = audio.trim(wave, rate)
    assert start / rate == pytest.approx(0.47, abs=0.025) and end / rate == pytest.approx(1.03, abs=0.025)
    assert start / rate <= 0.5 and end / rate >= 1.0
    trimmed = audio.trim_silence(wave, rate)
    assert len(trimmed) == end - start and abs(trimmed[0]) < 1e-3 and abs(trimmed[-1]) < 1e-3
    inner = slice(round(0.01 * rate), -round(0.01 * rate))
    assert np.array_equal(trimmed[inner], wave[start:end][inner])


def test_trim_of_silence_and_full_length_sound() -> None:
    assert audio.trim(np.zeros(1000), 24_000) == (0, 1000)
    assert audio.trim(np.zeros(0), 24_000) == (0, 0)
    assert audio.trim(tone(), 24_000) == (0, 12_000)
    click = np.zeros(24_000, np.float32)
    click[-1] = 0.5
    start, end = audio.trim(click, 24_000)
    assert start < 23_999 and end == 24_000


def test_inspect(tmp_path: Path) -> None:
    audio.write(tmp_path / "good.wav", tone(), 24_000)
    good = audio.inspect(tmp_path / "good.wav")
    assert (good.seconds, good.sample_rate, good.channels, good.flags) == (0.5, 24_000, 1, ())
    assert good.peak == pytest.approx(0.5, abs=1e-3) and good.rms_db == pytest.approx(-9.03, abs=0.05)
    audio.write(tmp_path / "copy.flac", tone(), 24_000)
    assert audio.inspect(tmp_path / "copy.flac").digest == good.digest != ""
    audio.write(tmp_path / "other.wav", tone(hertz=441.0), 24_000)
    assert audio.inspect(tmp_path / "other.wav").digest != good.digest
    audio.write(tmp_path / "loud.wav", 3 * tone(), 24_000)
    assert audio.inspect(tmp_path / "loud.wav").flags == ("clipped",)
    audio.write(tmp_path / "quiet.wav", np.full(12_000, 0.2), 24_000)  # an offset is not a sound
    quiet = audio.inspect(tmp_path / "quiet.wav")
    assert quiet.flags == ("silent",) and quiet.digest == ""
    audio.write(tmp_path / "short.wav", tone(0.05), 24_000)
    assert audio.inspect(tmp_path / "short.wav").flags == ("short",)


def stored(path: Path, *channels: np.ndarray) -> Path:
    soundfile.write(path, np.stack(channels, axis=1), 24_000, subtype="FLOAT")
    return path


def refused_as(path: Path, flag: str) -> str:
    """`inspect` flags the file, and `read` refuses it for the same reason."""
    report = audio.inspect(path)
    assert flag in report.flags and report.digest == ""
    message = one_line_error(audio.read, path)
    assert message.partition(f"{path} ")[2] in report.detail
    return message


def test_inspect_and_read_refuse_channels_that_cancel(tmp_path: Path) -> None:
    wave, other = tone(), tone(hertz=1000.0)
    hiss = np.random.default_rng(0).normal(0, 0.01, len(wave)).astype(np.float32)
    for channels in ((wave, -wave), (wave, hiss - 0.9 * wave), (wave, -wave, 0 * wave), (0.2 + wave, 0.2 - wave)):
        message = refused_as(stored(tmp_path / "clip.wav", *channels), "out-of-phase")
        assert "cancel in the mono mix" in message
    pcm = np.rint(3000 * np.stack([wave, -wave], axis=1)).astype(np.int16)
    soundfile.write(tmp_path / "pcm.wav", pcm, 24_000)
    assert audio.inspect(tmp_path / "pcm.wav").flags == ("out-of-phase", "silent")
    for channels in ((wave, wave), (wave, 0 * wave), (wave, other), (wave, -wave, other), (wave, *[0 * wave] * 7)):
        path = stored(tmp_path / "clip.wav", *channels)
        assert audio.inspect(path).flags == ()
        audio.read(path)


def test_inspect_measures_silence_of_the_mono_mix(tmp_path: Path) -> None:
    quiet = tone(level=0.0015)
    assert audio.inspect(stored(tmp_path / "clip.wav", quiet)).flags == ()
    assert audio.inspect(stored(tmp_path / "clip.wav", quiet, 0 * quiet)).flags == ("silent",)
    assert audio.is_silent(np.full(1000, 0.3)) and audio.is_silent(np.zeros(0)) and not audio.is_silent(0.3 + quiet)


def test_inspect_and_read_refuse_levels_that_no_recording_has(tmp_path: Path) -> None:
    wave = tone()
    for level, words in ((1e29, "580 dB"), (32_767.0, "90 dB"), (-11.0, "21 dB")):
        wave[5] = level
        assert words in refused_as(stored(tmp_path / "clip.wav", wave), "overrange")
    wave[5] = 2.0  # as decoders of clipped mp3 files give
    assert "overrange" not in audio.inspect(stored(tmp_path / "clip.wav", wave)).flags
    for bad in (np.nan, np.inf, -np.inf):
        wave[5] = bad
        assert audio.inspect(stored(tmp_path / "clip.wav", wave)).flags == ("unreadable",)
        assert "NaN or infinite" in one_line_error(audio.read, tmp_path / "clip.wav")


@pytest.mark.parametrize("kind", ["ogg", "opus", "flac"])
def test_read_joins_the_streams_of_a_chain(tmp_path: Path, kind: str) -> None:
    parts = [tone(0.5), tone(0.25, hertz=900.0)]
    for number, part in enumerate(parts):
        audio.write(tmp_path / f"{number}.{kind}", part, 24_000)
    chain = tmp_path / f"chain.{kind}"
    chain.write_bytes(b"".join((tmp_path / f"{number}.{kind}").read_bytes() for number in range(2)))
    wave, rate = audio.read(chain)
    assert np.array_equal(wave, np.concatenate([audio.read(tmp_path / f"{n}.{kind}")[0] for n in range(2)]))
    report = audio.inspect(chain)
    assert (report.seconds, report.flags) == (len(wave) / rate, ())


def test_read_refuses_a_chain_of_different_streams(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.ogg", tone(), 24_000)
    audio.write(tmp_path / "b.ogg", tone(rate=48_000), 48_000)
    (tmp_path / "chain.ogg").write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    assert "1 x 24000 Hz, 1 x 48000 Hz" in one_line_error(audio.read, tmp_path / "chain.ogg")
    assert audio.inspect(tmp_path / "chain.ogg").flags == ("unreadable",)


def test_inspect_and_read_refuse_truncated_files(tmp_path: Path) -> None:
    for kind, seconds in (("wav", 0.5), ("mp3", 4.0), ("ogg", 8.0)):
        path = tmp_path / f"clip.{kind}"
        audio.write(path, tone(seconds), 24_000)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 3 // 4])
        assert "copy it again" in refused_as(path, "truncated")


@pytest.mark.parametrize("suffix", ["au", "w64", "rf64", "voc", "aiff", "sph"])
def test_inspect_and_read_refuse_truncated_files_of_other_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, tone(0.5), 24_000, format="NIST" if suffix == "sph" else suffix, subtype="PCM_16")
    assert audio.inspect(path).flags == ()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "its header announces 0.50 s" in refused_as(path, "truncated")


def test_import_is_light() -> None:
    code = "import sys, vocalgen.audio; sys.exit(bool({'torch', 'scipy', 'librosa'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def webm(path: Path, wave: np.ndarray, rate: int, channels: int = 1) -> Path:
    """An opus recording as browsers make them."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=rate, layout="stereo" if channels == 2 else "mono")
        samples = np.ascontiguousarray(np.tile(wave, (channels, 1)), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo" if channels == 2 else "mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


@pytest.mark.parametrize("channels", [1, 2])
def test_webm_is_read(tmp_path: Path, channels: int) -> None:
    rate = 48_000
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    path = webm(tmp_path / "clip.webm", wave, rate, channels)
    found, found_rate = audio.read(path)
    assert found_rate == rate
    assert abs(len(found) - rate) < 0.05 * rate
    spectrum = np.abs(np.fft.rfft(found[: rate // 2]))
    assert spectrum.argmax() == 220
    assert np.abs(found[rate // 4 : rate // 2]).max() == pytest.approx(0.5, abs=0.05)
    report = audio.inspect(path)
    assert (report.channels, report.flags) == (channels, ())
    assert np.array_equal(audio.decode(path.read_bytes(), "clip.webm")[0], found)


def test_webm_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    path = tmp_path / "clip.webm"
    path.write_bytes(b"\x1aE\xdf\xa3" + bytes(200))
    with pytest.raises(VocalgenError, match=r"cannot read .*clip\.webm as webm"):
        audio.read(path)
    assert audio.inspect(path).flags == ("unreadable",)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VocalgenError, match=r"install PyAV: pip install 'vocalgen\[webm\]'"):
        audio.read(path)


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    audio.write(tmp_path / "0.wav", np.sin(np.arange(8000, dtype=np.float32)) / 2, 8000)
    (tmp_path / "0.wav").rename(path)
    assert audio.read(path)[1] == 8000 and audio.inspect(path).flags == ()
