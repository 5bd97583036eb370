"""The source-filter vocoder: its oscillator, what it does untrained, its own pitch, its file format."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from bursts import burst
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.generation.loading import load_vocoder
from vocalgen.mel import MEL_16K_EXVO, MEL_24K, LogMel, MelConfig
from vocalgen.models.griffin_lim import GriffinLim, griffin_lim, stft
from vocalgen.models.source_filter import Source, SourceFilterVocoder, pulse_train
from vocalgen.models.vocoder import vocode
from vocalgen.pitch import track_pitch

RATE, HOP = MEL_24K.sample_rate, MEL_24K.hop_length


def tiny(mel: MelConfig = MEL_24K, **changes: int) -> SourceFilterVocoder:
    torch.manual_seed(0)
    return SourceFilterVocoder(mel.to_dict(), dim=16, depth=1, pitch_depth=1, **changes).eval()


def test_pulse_train_is_the_sum_of_its_harmonics() -> None:
    f0, phase = 430.0, torch.tensor([0.3])
    wave = pulse_train(torch.full((1, 20), f0), phase, RATE, HOP)
    cycles = torch.arange(1, 20 * HOP + 1, dtype=torch.float64) * f0 / RATE
    count = int(RATE / 2 / f0)
    expected = sum(torch.cos(k * (2 * math.pi * cycles + 0.3)) for k in range(1, count + 1)) * math.sqrt(2 / count)
    torch.testing.assert_close(wave[0], expected.float(), rtol=1e-3, atol=2e-2)  # type: ignore[union-attr]
    assert wave.square().mean() == pytest.approx(1.0, abs=0.05)


def test_pulse_train_follows_the_pitch() -> None:
    f0 = torch.linspace(150, 200, 60)[None]
    found, _ = track_pitch(pulse_train(f0, torch.zeros(1), RATE, HOP), RATE, HOP)
    assert found[0, 8:-8].numpy() == pytest.approx(f0[0, 8:-8].numpy(), rel=0.02)


@pytest.fixture(scope="module")
def wave() -> Tensor:
    return torch.from_numpy(burst(1, 0.8)[: 72 * HOP])[None]


def test_untrained_with_the_true_pitch_it_beats_griffin_lim(wave: Tensor) -> None:
    """Phases from the pitch leave a sound more periodic, and nearer in pitch, than phases found from random ones."""
    mel = LogMel()(wave)
    f0, periodicity = track_pitch(wave, RATE, HOP)
    noise = torch.randn(wave.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output, _ = tiny(n_iter=2)(mel.transpose(1, 2), Source(f0, periodicity, torch.zeros(1), noise))
    baseline = griffin_lim(mel, n_iter=2)
    voiced = periodicity[0] > 0.9

    def error(candidate: Tensor) -> float:
        return float((track_pitch(candidate, RATE, HOP)[1] - periodicity)[0, voiced].abs().mean())

    assert voiced.sum() > 10
    assert error(output) < 0.7 * error(baseline)
    assert float((LogMel()(output) - mel).abs().mean()) < 0.4


def test_noise_keeps_the_fluctuation_of_noise() -> None:
    """Between the bins of a wide mel band Griffin-Lim's noise is smoother than noise is."""
    wave = 0.1 * torch.randn(1, 64 * HOP)
    mel = LogMel()(wave)
    source = Source(torch.full((1, 64), 200.0), torch.zeros(1, 64), torch.zeros(1), torch.randn(1, 64 * HOP))
    with torch.no_grad():
        output, _ = tiny()(mel.transpose(1, 2), source)

    def roughness(candidate: Tensor) -> float:
        return float(stft(candidate, MEL_24K).abs().log()[0, 256:].diff(dim=0).abs().mean())

    baseline = roughness(griffin_lim(mel))
    assert baseline < 0.7 * roughness(wave)
    assert roughness(output) > baseline + 0.4 * (roughness(wave) - baseline)


def test_clips_do_not_depend_on_their_batch(wave: Tensor) -> None:
    mels = torch.cat([LogMel()(wave), LogMel()(wave.flip(1))])
    vocoder = tiny()
    together = vocode(vocoder, mels)
    assert together.shape == (2, mels.shape[-1] * HOP)
    assert together.abs().max() <= 1
    # Sums are in another order, and phases add them up over the clip; how far this goes depends on the processor.
    torch.testing.assert_close(together[1:], vocode(vocoder, mels[1:]), rtol=0, atol=1e-3)
    assert torch.equal(vocode(vocoder, mels), together)


def test_it_learns_to_read_the_pitch() -> None:
    """A few steps on steady pulses lower the pitch loss, and the pitch read lies where it was."""
    vocoder = tiny().train()
    optimizer = torch.optim.Adam(vocoder.parameters(), 1e-2)
    f0 = torch.tensor([120.0, 240.0, 480.0])[:, None].expand(-1, 24)
    waves = 0.1 * pulse_train(f0, torch.zeros(3), RATE, HOP)
    mel, periodicity = LogMel()(waves).transpose(1, 2), torch.full_like(f0, 0.95)
    source = Source(f0, periodicity, torch.zeros(3), torch.randn(3, waves.shape[1]))
    losses = []
    for _ in range(40):
        _, logits = vocoder(mel, source)
        losses.append(vocoder.pitch_loss(logits, f0, periodicity))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.4 * losses[0]
    read = vocoder._own_source(logits)
    assert read.f0[:, 6:-6].median(1).values.tolist() == pytest.approx([120.0, 240.0, 480.0], rel=0.03)


def steady(*f0: float) -> Tensor:
    """Log-mels (B, n_mels, 24) of steady pulses."""
    pitch = torch.tensor(f0)[:, None].expand(-1, 24)
    return LogMel()(0.1 * pulse_train(pitch, torch.zeros(len(f0)), RATE, HOP))


def test_pitch_distance_of_equal_mels_is_the_entropy_of_what_is_read() -> None:
    vocoder, mel = tiny(), steady(150.0, 310.0)
    with torch.no_grad():
        vocoder.pitch_head.bias[-1] = 3.0  # periodic, so that the pitch counts
        logits = vocoder._read_pitch(mel)[1].double()
        classes, periodic = logits[..., :-1].softmax(-1), logits[..., -1].sigmoid()
        weight = (2 * periodic - 1).clamp(min=0)
        entropy = -(classes * classes.log()).sum(-1)
        voicing = -(periodic * periodic.log() + (1 - periodic) * (1 - periodic).log())
        expected = (entropy * weight).sum() / weight.sum() + voicing.mean()
        equal = vocoder.pitch_distance(mel, mel)
        assert weight.sum() > 1
        assert equal.item() == pytest.approx(expected.item(), rel=1e-4)
        for other in (steady(155.0, 310.0), mel + 0.3 * torch.randn(mel.shape), mel.flip(0)):
            assert vocoder.pitch_distance(mel, other) > equal


def test_pitch_distance_teaches_the_decoded_mel_alone() -> None:
    vocoder = tiny().requires_grad_(False)
    target, decoded = steady(150.0).requires_grad_(), steady(170.0).requires_grad_()
    vocoder.pitch_distance(target, decoded).backward()
    assert target.grad is None and decoded.grad is not None and decoded.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in vocoder.parameters())


def test_pitch_distance_rises_with_the_shift_of_the_pitch(root: Path) -> None:
    vocoder = load_vocoder(root / "checkpoints" / "emogator-diffusion-24k" / "vocoder", MEL_24K)
    with torch.no_grad():
        target = steady(220.0)
        shifted = [float(vocoder.pitch_distance(target, steady(220.0 * 2 ** (n / 12)))) for n in (0, 0.5, 1, 4)]
    assert shifted == sorted(shifted)
    assert shifted[2] > shifted[0] + 0.5


def test_saved_and_loaded(tmp_path: Path, wave: Tensor) -> None:
    vocoder, mel = tiny(), LogMel()(wave)
    vocoder.save_pretrained(tmp_path)
    loaded = vocode(load_vocoder(tmp_path, MEL_24K), mel)
    torch.testing.assert_close(loaded, vocode(vocoder, mel), rtol=0, atol=1e-4)
    with pytest.raises(VocalgenError, match="mel mismatch"):
        load_vocoder(tmp_path, MEL_16K_EXVO)


def test_other_front_end() -> None:
    assert vocode(tiny(MEL_16K_EXVO), torch.full((1, 128, 8), -3.0)).shape == (1, 8 * 256)


def test_silence_stays_silent() -> None:
    assert vocode(tiny(), torch.full((1, 100, 12), MEL_24K.log_floor)).abs().max() < 1e-3


def test_what_is_no_vocoder_is_refused(tmp_path: Path) -> None:
    GriffinLim(MEL_24K.to_dict()).save_pretrained(tmp_path / "griffin-lim")
    assert isinstance(load_vocoder(tmp_path / "griffin-lim"), GriffinLim)
    (tmp_path / "config.json").write_text('{"_class_name": "MelAutoencoder"}')
    with pytest.raises(VocalgenError, match="describes MelAutoencoder; a vocoder is one of"):
        load_vocoder(tmp_path)
