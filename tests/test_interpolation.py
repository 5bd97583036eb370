"""Ways from one burst to another, and the search for a real clip in StyleGAN2's latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Line
from debug import debug_pipeline, debug_stylegan2
from safetensors.torch import load_file

from vocalgen import audio, tags
from vocalgen.emotions import EMOGATOR30, one_hot
from vocalgen.errors import VocalgenError
from vocalgen.generation.interpolation import GAP, End, interpolate, joined
from vocalgen.generation.inversion import invert
from vocalgen.generation.pipeline import BurstPipeline, StyleGAN2Pipeline


@pytest.fixture(scope="module", params=["diffusion", "stylegan2"])
def pipe(request: pytest.FixtureRequest) -> BurstPipeline:
    return debug_pipeline() if request.param == "diffusion" else debug_stylegan2()


@pytest.fixture(scope="module")
def gan() -> StyleGAN2Pipeline:
    return debug_stylegan2()


@pytest.fixture(scope="module")
def folder(gan: StyleGAN2Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gan") / "checkpoint"
    gan.save_pretrained(path)
    return path


def test_both_ends_are_the_clips_themselves(pipe: BurstPipeline) -> None:
    ends = End(pipe.condition("awe"), 3), End(pipe.condition("fear"), 8)
    clips = interpolate(pipe, *ends, steps=4)
    assert len(clips) == 4
    np.testing.assert_allclose(clips[0], pipe("awe", seed=3).clips[0], atol=2e-4)
    if isinstance(pipe, StyleGAN2Pipeline):  # its noise stays that of the first seed
        return
    np.testing.assert_allclose(clips[-1], pipe("fear", seed=8).clips[0], atol=2e-4)


def test_steps_are_even_in_emotion_and_in_w(gan: StyleGAN2Pipeline) -> None:
    intensities = torch.tensor([one_hot("Awe", EMOGATOR30), one_hot("Fear", EMOGATOR30)])
    z, noise = gan.randomness((1, 2))
    start, end = gan.styles(z, intensities, 0.5)
    mels = gan.between(intensities, (1, 2), torch.tensor([0.0, 0.25, 1.0]), gan.settings(psi=0.5))
    torch.testing.assert_close(
        mels[1:2], gan.render((0.75 * start + 0.25 * end)[None], [n[:1] for n in noise]), rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(mels[2:], gan.render(end[None], [n[:1] for n in noise]), rtol=1e-3, atol=1e-3)


def test_diffusion_noise_stays_as_loud_and_one_seed_stays_itself() -> None:
    pipe = debug_pipeline()
    seen = []
    pipe._sample = lambda intensities, noise, duration, settings: (
        seen.append((intensities, torch.stack(noise))) or noise
    )  # type: ignore[method-assign]
    ends = torch.tensor([one_hot("Awe", EMOGATOR30), one_hot("Fear", EMOGATOR30)])
    shares = torch.linspace(0, 1, 5)
    pipe.between(ends, (1, 2), shares, pipe.settings())
    pipe.between(ends, (1, 1), shares, pipe.settings())
    (intensities, far), (_, same) = seen
    assert (far.std((1, 2)) - 1).abs().max() < 0.25
    torch.testing.assert_close(intensities[2], 0.5 * (ends[0] + ends[1]))
    torch.testing.assert_close(same, same[:1].expand_as(same))
    assert not torch.allclose(far[0], far[1])


def test_joined_clips_have_silence_between_them() -> None:
    wave = joined([np.ones(10, np.float32), np.ones(20, np.float32)], 1000)
    assert len(wave) == 30 + int(GAP * 1000)
    assert not wave[10:-20].any() and wave[:10].all() and wave[-20:].all()


@pytest.mark.parametrize(("steps", "seed", "words"), [(1, 0, "two clips at least"), (2, -1, "seeds must lie")])
def test_what_cannot_be_interpolated(gan: StyleGAN2Pipeline, steps: int, seed: int, words: str) -> None:
    with pytest.raises(VocalgenError, match=words):
        interpolate(gan, End(gan.condition("awe"), 0), End(gan.condition("awe"), seed), steps)


def test_the_search_finds_its_own_clips(gan: StyleGAN2Pipeline) -> None:
    wave = gan("awe", seed=5, normalise=False).clips[0]
    found = invert(gan, wave, torch.tensor(one_hot("Awe", EMOGATOR30)), steps=60)
    assert found.distance < 0.8 * found.start
    assert found.w.shape == (gan.generator.styles, gan.generator.config.w_dim)
    torch.testing.assert_close((found.mel - found.target).abs().mean().item(), found.distance)
    again = invert(gan, wave, torch.tensor(one_hot("Awe", EMOGATOR30)), steps=60)
    torch.testing.assert_close(again.w, found.w, rtol=0, atol=0)
    with pytest.raises(VocalgenError, match="one step at least"):
        invert(gan, wave, torch.tensor(one_hot("Awe", EMOGATOR30)), steps=0)


def test_the_verbs_write_what_they_say(folder: Path, gan: StyleGAN2Pipeline, tmp_path: Path, done: Line) -> None:
    common = ["--checkpoint", folder]
    done("interpolate", "--from", "awe", "--to", "fear", "-n", 3, "-o", tmp_path / "way", *common)
    assert sorted(path.name for path in (tmp_path / "way").glob("*.wav")) == ["000.wav", "001.wav", "002.wav"]
    wave, rate = audio.read(tmp_path / "way" / "000.wav")
    np.testing.assert_allclose(wave, gan("awe").clips[0], atol=1e-3)
    done("interpolate", "--from", "awe", "--to-seed", 4, "-o", tmp_path / "one.flac", *common)
    assert audio.read(tmp_path / "one.flac")[1] == rate
    clip = tmp_path / "way" / "001.wav"
    assert "before the search" in done("invert", clip, "-e", "awe", "--steps", 3, "-o", tmp_path / "found", *common)
    assert load_file(tmp_path / "found" / "001.safetensors")["w"].shape[0] == gan.generator.styles
    written = [tags.read(file) for file in (clip, tmp_path / "one.flac", tmp_path / "found" / "001.wav")]
    assert [found and (found.tags.emotion, found.unchanged) for found in written] == [
        ("awe to fear", True),
        ("awe to awe", True),
        ("awe", True),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["interpolate", "--from", "awe"], "both ends are the same"),
        (["interpolate", "--from", "awe", "--to", "fear", "-n", "1"], "at least 2"),
        (["interpolate", "--from", "awe", "--to", "faer"], "did you mean fear"),
        (["interpolate", "--from", "awe", "--to", "fear", "--psi", "2"], "psi must lie"),
        (["invert", "CLIP", "-e", "awe", "--steps", "0"], "at least 1"),
        (["invert", "CLIP", "-e", "nobody"], "nobody"),
        (["invert", "nowhere.wav", "-e", "awe"], "nowhere.wav"),
    ],
)
def test_the_verbs_refuse_in_one_line(
    folder: Path, tmp_path: Path, arguments: list[str], words: str, refused: Line
) -> None:
    audio.write(tmp_path / "clip.wav", 0.1 * np.sin(np.arange(8000) / 9).astype(np.float32), 24_000)
    given = [str(tmp_path / "clip.wav") if argument == "CLIP" else argument for argument in arguments]
    assert words in refused(*given, "--checkpoint", folder, "-o", tmp_path / "out")


def test_diffusion_cannot_be_searched(debug_checkpoint: Path, refused: Line) -> None:
    assert "no StyleGAN2 checkpoint" in refused("invert", "clip.wav", "-e", "awe", "--checkpoint", debug_checkpoint)
