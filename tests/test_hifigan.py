"""The HiFi-GAN generator as a file format, its front end, and the shapes of the discriminators."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import SpeechT5HifiGan

from vocalgen.errors import VocalgenError
from vocalgen.generation.loading import load_vocoder
from vocalgen.mel import MEL_16K_EXVO, MEL_24K
from vocalgen.models.hifigan import (
    LIGHT,
    NARROW,
    SIZES,
    DiscriminatorSize,
    GeneratorSize,
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    WaveDiscriminator,
    apply_weight_norm,
    fold_weight_norm,
    generator_size,
    hifigan_generator,
)
from vocalgen.models.vocoder import vocode

TINY = GeneratorSize((16, 16), (16, 32), 16, (3,), ((1,),))


@pytest.mark.parametrize("name", SIZES)
def test_every_size_gives_one_hop_a_frame(name: str) -> None:
    generator = hifigan_generator(MEL_24K, SIZES[name])
    wave = vocode(generator, torch.full((2, 100, 3), -6.0))
    assert wave.shape == (2, 3 * 256)
    assert wave.abs().max() <= 1
    assert generator_size(generator) == SIZES[name]


def test_published_parameter_counts() -> None:
    """Within 3 % of the paper's 13.92M and 0.92M, which had 80 bands."""
    with torch.device("meta"):
        generators = [hifigan_generator(MEL_24K, SIZES[name]) for name in ("v1", "v2")]
    millions = [sum(p.numel() for p in generator.parameters()) / 1e6 for generator in generators]
    assert millions == pytest.approx([13.92, 0.92], rel=0.03)


def test_other_front_ends() -> None:
    assert vocode(hifigan_generator(MEL_16K_EXVO, TINY), torch.zeros(1, 128, 4)).shape == (1, 1024)


def test_untrained_output_is_neither_silent_nor_clipped() -> None:
    wave = vocode(hifigan_generator(MEL_24K, LIGHT), -6 + 2.5 * torch.randn(2, 100, 20))
    assert 1e-3 < wave.std() < 0.5


def test_plain_transformers_loads_what_was_saved(tmp_path: Path) -> None:
    generator = hifigan_generator(MEL_24K, TINY, mel_mean=-5.0, mel_scale=2.0).eval()
    generator.save_pretrained(tmp_path)
    mel = torch.randn(2, 100, 5)
    expected = vocode(generator, mel)
    plain = SpeechT5HifiGan.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(plain(mel.transpose(1, 2)), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(vocode(load_vocoder(tmp_path, MEL_24K), mel), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(vocode(load_vocoder(tmp_path), mel), expected, rtol=0, atol=1e-5)
    assert plain.config.mel == MEL_24K.to_dict()
    assert plain.config.sampling_rate == 24_000


def test_log_mels_enter_normalised() -> None:
    generator = hifigan_generator(MEL_24K, TINY)
    shifted = hifigan_generator(MEL_24K, TINY, mel_mean=0.0, mel_scale=1.0)
    weights = {k: v for k, v in generator.state_dict().items() if k not in ("mean", "scale")}
    shifted.load_state_dict(weights, strict=False)
    mel = torch.randn(1, 100, 4)
    torch.testing.assert_close(vocode(generator, mel * 2.5 - 6.0), vocode(shifted, mel), rtol=1e-4, atol=1e-6)


def test_other_fingerprint_prints_both(tmp_path: Path) -> None:
    hifigan_generator(MEL_24K, TINY).save_pretrained(tmp_path)
    other = replace(MEL_24K, f_max=8000.0)
    with pytest.raises(VocalgenError, match="mel mismatch") as caught:
        load_vocoder(tmp_path, other)
    for part in (MEL_24K.fingerprint, other.fingerprint, "12000.0", "8000.0", str(tmp_path)):
        assert part in str(caught.value)


def test_edited_or_missing_front_end_is_refused(tmp_path: Path) -> None:
    hifigan_generator(MEL_24K, TINY).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "mel": {**values["mel"], "f_min": 50.0}}))
    with pytest.raises(VocalgenError, match="was edited"):
        load_vocoder(tmp_path)
    del values["mel"]
    path.write_text(json.dumps(values))
    with pytest.raises(VocalgenError, match="names no mel front end"):
        load_vocoder(tmp_path)


def test_damaged_files_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="not a vocalgen checkpoint"):
        load_vocoder(tmp_path / "absent")
    hifigan_generator(MEL_24K, TINY).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(VocalgenError, match="damaged or not a safetensors file") as caught:
        load_vocoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_of_other_sizes_are_refused(tmp_path: Path) -> None:
    """Missing weights would otherwise be drawn at random."""
    hifigan_generator(MEL_24K, TINY).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "resblock_dilation_sizes": [[1, 3]]}))
    with pytest.raises(VocalgenError, match=r"8 tensors differ, first resblocks\.0\.convs1\.1\.bias"):
        load_vocoder(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"upsample_rates": (8, 8)}, "do not multiply to the hop of 256"),
        ({"upsample_kernel_sizes": (16, 33)}, "even numbers"),
        ({"upsample_kernel_sizes": (16,)}, "even numbers"),
        ({"initial_channel": 18}, "cannot be halved 2 times"),
        ({"resblock_kernel_sizes": (3, 5)}, "differ in length"),
        ({"resblock_kernel_sizes": (4,)}, "must be odd"),
    ],
)
def test_sizes_that_do_not_fit(change: dict[str, object], message: str) -> None:
    with pytest.raises(VocalgenError, match=message):
        hifigan_generator(MEL_24K, replace(TINY, **change))  # type: ignore[arg-type]


def test_weight_norm_folds_back() -> None:
    generator = hifigan_generator(MEL_24K, TINY)
    names, mel = set(generator.state_dict()), torch.randn(1, 100, 4)
    expected = vocode(generator, mel)
    apply_weight_norm(generator)
    assert set(generator.state_dict()) != names
    torch.testing.assert_close(vocode(generator, mel), expected)
    copied = copy.deepcopy(generator)
    folded = fold_weight_norm(copied)
    assert set(folded.state_dict()) == names
    for model in (folded, copied, generator):
        torch.testing.assert_close(vocode(model, mel), expected)


def test_period_discriminator_shapes() -> None:
    size = DiscriminatorSize(periods=(2, 3, 7), period_channels=(4, 8, 8))
    judgements = MultiPeriodDiscriminator(size)(torch.randn(2, 1000))
    for (scores, features), period in zip(judgements, size.periods, strict=True):
        rows = -(-1000 // period)
        first = -(-rows // 3)
        assert [tuple(f.shape) for f in features] == [
            (2, 4, first, period),
            (2, 8, -(-first // 3), period),
            (2, 8, -(-first // 3), period),
        ]
        assert scores.shape == (2, -(-first // 3) * period)


def test_scale_discriminator_shapes() -> None:
    judgements = MultiScaleDiscriminator(replace(NARROW, scales=3))(torch.randn(2, 4096))
    assert [scores.shape for scores, _ in judgements] == [(2, 64), (2, 33), (2, 17)]
    assert [len(features) for _, features in judgements] == [6, 6, 6]


def test_published_discriminator_sizes() -> None:
    with torch.device("meta"):
        discriminator = WaveDiscriminator(DiscriminatorSize())
    millions = [
        sum(p.numel() for p in part.parameters()) / 1e6 for part in (discriminator.periods, discriminator.scales)
    ]
    assert millions == pytest.approx([41.1, 29.6], rel=0.01)
    assert len(discriminator.periods.judges) + len(discriminator.scales.judges) == 8


def test_discriminator_sizes_that_do_not_fit() -> None:
    with pytest.raises(VocalgenError, match="same length"):
        replace(NARROW, scale_groups=(1, 1))
