"""The pipeline: what a clip depends on, what files it accepts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from debug import SAMPLING, debug_pipeline, debug_vocoder
from safetensors.torch import load_file, save_file

from vocalgen import VocalBurstPipeline, VocalgenError
from vocalgen.emotions import EMOGATOR30, HUME10, parse_condition
from vocalgen.generation.checkpoint import checkpoint_sha256, read_vocabulary, resolve_checkpoint
from vocalgen.generation.loading import choose_device, load_synthesiser
from vocalgen.generation.synthesis import CPU_TILE, SILENCE_MARGIN, Synthesis
from vocalgen.mel import MEL_16K_EXVO, MEL_24K, MelConfig
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.vocoder import vocode
from vocalgen.shipped import file_sha256

LSB = 1 / 32768


@pytest.fixture(scope="module")
def pipe() -> VocalBurstPipeline:
    return debug_pipeline()


@pytest.fixture
def copy(debug_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint folder to spoil."""
    return Path(shutil.copytree(debug_checkpoint, tmp_path / "copy"))


LOADERS = [VocalBurstPipeline.from_pretrained, load_synthesiser]
Loader = Callable[[Path], Synthesis]


@pytest.mark.parametrize("load", LOADERS)
def test_a_saved_pipeline_makes_the_same_clips(load: Loader, pipe: VocalBurstPipeline, debug_checkpoint: Path) -> None:
    loaded = load(debug_checkpoint)
    assert loaded.defaults == SAMPLING and loaded.folder == debug_checkpoint
    assert loaded.emotions == EMOGATOR30
    # Not bit for bit: kernels may depend on where in memory a network's weights lie.
    np.testing.assert_allclose(loaded("awe", 2).audio, pipe("awe", 2).audio, atol=1e-4)


@pytest.mark.parametrize("load", LOADERS)
def test_half_precision_files_become_float32(load: Loader, tmp_path: Path) -> None:
    debug_pipeline().to(torch.float16).save_pretrained(tmp_path)
    loaded = load(tmp_path)
    for part in (loaded.transformer, loaded.autoencoder, loaded.vocoder):
        assert {value.dtype for value in part.state_dict().values()} == {torch.float32}
    assert np.isfinite(loaded("awe").audio).all()


def test_a_pipeline_can_stay_in_bfloat16(debug_checkpoint: Path, pipe: VocalBurstPipeline) -> None:
    loaded = VocalBurstPipeline.from_pretrained(debug_checkpoint, dtype=torch.bfloat16)
    assert loaded.transformer.dtype == loaded.vocoder.dtype == torch.bfloat16
    out = loaded("awe")
    assert out.audio.dtype == np.float32
    assert 1e-4 < np.abs(out.mels - pipe("awe").mels).mean() < 0.1


def test_output(pipe: VocalBurstPipeline) -> None:
    out = pipe(["awe", "surprise"], num_samples=2, seed=5)
    assert out.audio.dtype == np.float32 and out.audio.shape == (4, out.lengths.max())
    assert np.abs(out.audio).max(axis=1) == pytest.approx([10 ** (-3 / 20)] * 4, abs=1e-3)
    assert out.mels.shape == (4, 100, 96) and out.mels.min() >= MEL_24K.log_floor
    assert out.seeds == [5, 6, 5, 6]
    assert out.labels == ["awe", "awe", "surprise", "surprise"]
    assert len(out.notes) == 1 and "Surprise" in out.notes[0]
    assert out.sample_rate == 24_000
    assert [len(clip) for clip in out.clips] == out.lengths.tolist()
    assert pipe.seconds == pytest.approx(96 * 256 / 24_000)


def test_a_clip_depends_on_emotion_seed_and_settings(pipe: VocalBurstPipeline) -> None:
    base = pipe("awe", seed=3).mels
    np.testing.assert_array_equal(pipe("awe", seed=3).mels, base)
    for other in (
        pipe("awe", seed=4),
        pipe("fear", seed=3),
        pipe("awe=0.5", seed=3),
        pipe("awe", seed=3, steps=4),
        pipe("awe", seed=3, guidance=4.0),
        pipe("awe", seed=3, solver="heun"),
        pipe("awe", seed=3, duration=0.5),
    ):
        assert np.abs(other.mels - base).max() > 1e-3


def test_the_first_emotion_is_not_the_null(pipe: VocalBurstPipeline) -> None:
    first = EMOGATOR30.emotions[0]
    assert not np.allclose(
        pipe(first, guidance=1.0).mels, pipe(first, guidance=0.0, guidance_low=0, guidance_high=99).mels
    )


def test_clips_do_not_depend_on_company(pipe: VocalBurstPipeline) -> None:
    together = pipe(["awe", "fear", "awe=0.7,fear=0.3"], num_samples=CPU_TILE, seed=10, normalise=False)
    assert len(together.seeds) == 3 * CPU_TILE
    alone = pipe("fear", seed=12, normalise=False)
    place = CPU_TILE + 2
    assert together.seeds[place] == 12
    assert alone.lengths[0] == together.lengths[place]
    np.testing.assert_allclose(alone.clips[0], together.clips[place], atol=LSB)


def test_exact_clips_do_not_depend_on_company_at_all(pipe: VocalBurstPipeline) -> None:
    names = ["awe", "fear", "pain", "relief"]
    together = pipe(names, num_samples=5, seeds=range(20), exact=True)
    for place in (0, 7, 8, 19):
        alone = pipe(names[place // 5], seeds=[place], exact=True)
        np.testing.assert_array_equal(alone.mels[0], together.mels[place])
        np.testing.assert_array_equal(alone.clips[0], together.clips[place])
    backwards = pipe(names[::-1], num_samples=5, seeds=[s for k in (15, 10, 5, 0) for s in range(k, k + 5)], exact=True)
    np.testing.assert_array_equal(backwards.mels[0], together.mels[15])


def test_networks_see_tiles_of_one_size(pipe: VocalBurstPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = pipe.sample_mels
    monkeypatch.setattr(pipe, "sample_mels", lambda *a: seen.append(len(a[1])) or original(*a), raising=False)
    pipe("awe", CPU_TILE + 1)
    pipe("awe", CPU_TILE + 1, exact=True)
    assert seen == [CPU_TILE, 1, CPU_TILE, CPU_TILE]


def test_no_guidance_is_the_conditional_model(pipe: VocalBurstPipeline) -> None:
    """Guidance 1 equals guidance that acts nowhere, and a guidance of almost 1 that acts everywhere."""
    plain = pipe("awe", guidance=1.0).mels
    np.testing.assert_array_equal(pipe("awe", guidance=3.0, guidance_low=50.0, guidance_high=60.0).mels, plain)
    everywhere = pipe("awe", guidance=1.0 + 1e-6, guidance_low=0.0, guidance_high=99.0).mels
    np.testing.assert_allclose(everywhere, plain, atol=1e-3)


def test_solvers_agree_in_the_limit(pipe: VocalBurstPipeline) -> None:
    few, many = ([pipe("awe", solver=s, steps=n, guidance=1.0).mels for s in ("dpm++", "heun")] for n in (4, 60))
    assert np.abs(many[0] - many[1]).mean() < 0.1 * np.abs(few[0] - few[1]).mean()


def test_mixtures_lie_between_their_parts(pipe: VocalBurstPipeline) -> None:
    mixture = pipe.condition("awe=0.7,fear=0.3")
    assert mixture.intensities[EMOGATOR30.index("awe")] == 0.7
    assert pipe(mixture).labels == ["awe=0.7,fear=0.3"]
    np.testing.assert_array_equal(pipe(mixture).mels, pipe("fear=0.3, Awe=0.7").mels)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"emotion": "aww"}, "awe"),
        ({"emotion": "horror"}, "no counterpart"),
        ({"emotion": "awe=1.5"}, "0 to 1"),
        ({"emotion": []}, "at least one"),
        ({"emotion": parse_condition("awe", HUME10)}, "10 intensities"),
        ({"emotion": "awe", "num_samples": 0}, "at least one"),
        ({"emotion": "awe", "seed": -1}, "seeds"),
        ({"emotion": "awe", "seeds": [1, 2]}, "2 seeds for 1"),
        ({"emotion": "awe", "duration": 0.01}, "duration"),
        ({"emotion": "awe", "duration": 9.0}, "0.1 and 1.02"),
        ({"emotion": "awe", "duration": float("nan")}, "duration"),
        ({"emotion": "awe", "solver": "euler"}, "dpm"),
        ({"emotion": "awe", "stepz": 3}, "stepz"),
    ],
)
def test_bad_requests(pipe: VocalBurstPipeline, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(VocalgenError, match=words):
        pipe(**arguments)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("part", ["transformer", "autoencoder", "vocoder"])
def test_a_truncated_file_is_refused(load: Loader, part: str, copy: Path) -> None:
    weights = next((copy / part).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(VocalgenError, match=str(copy)) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("part", ["transformer", "vocoder"])
@pytest.mark.parametrize("kind", ["foreign", "missing", "extra", "reshaped"])
def test_weights_of_another_network_are_refused(load: Loader, part: str, kind: str, copy: Path) -> None:
    path = next((copy / part).glob("*.safetensors"))
    weights = load_file(path)
    name = sorted(weights)[0]
    if kind == "foreign":
        weights = {"unet.weight": torch.zeros(3)}
    elif kind == "missing":
        del weights[name]
    elif kind == "extra":
        weights["unet.weight"] = torch.zeros(3)
    else:
        weights[name] = torch.zeros(2, 3, 4, 5)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(VocalgenError) as caught:
        load(copy)
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("kind", ["empty folder", "no weights", "no part", "broken index", "other pipeline"])
def test_other_folders_are_refused(load: Loader, kind: str, copy: Path) -> None:
    if kind == "empty folder":
        shutil.rmtree(copy)
        copy.mkdir()
    elif kind == "no weights":
        next((copy / "vocoder").glob("*.safetensors")).unlink()
    elif kind == "no part":
        shutil.rmtree(copy / "autoencoder")
    elif kind == "broken index":
        (copy / "model_index.json").write_text("{")
    else:
        (copy / "model_index.json").write_text(
            json.dumps({"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]})
        )
    with pytest.raises(VocalgenError) as caught:
        load(copy)
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_names_that_are_no_checkpoint(tmp_path: Path) -> None:
    for name in ("nonsense", str(tmp_path / "missing"), "./owner/name"):
        with pytest.raises(VocalgenError, match="no checkpoint"):
            resolve_checkpoint(name)
    assert resolve_checkpoint("owner/name") == "owner/name"
    assert resolve_checkpoint(tmp_path) == str(tmp_path)
    with pytest.raises(VocalgenError, match="owner/name"):  # tests are offline
        VocalBurstPipeline.from_pretrained("owner/name")


@pytest.mark.parametrize("load", LOADERS)
def test_another_front_end_is_refused_and_both_are_printed(load: Loader, copy: Path) -> None:
    config = copy / "autoencoder" / "config.json"
    values = json.loads(config.read_text())
    other = MelConfig(floor=1e-4)
    config.write_text(json.dumps({**values, "mel": other.to_dict()}))
    with pytest.raises(VocalgenError) as caught:
        load(copy)
    assert MEL_24K.fingerprint in str(caught.value) and other.fingerprint in str(caught.value)


@pytest.mark.parametrize("load", LOADERS)
def test_an_edited_front_end_is_refused(load: Loader, copy: Path) -> None:
    for part in ("transformer", "vocoder"):
        config = copy / part / "config.json"
        kept = config.read_text()
        values = json.loads(kept)
        values["mel"]["floor"] = 1e-4
        config.write_text(json.dumps(values))
        with pytest.raises(VocalgenError) as caught:
            load(copy)
        assert MEL_24K.fingerprint in str(caught.value)
        assert MelConfig(floor=1e-4).fingerprint in str(caught.value)
        config.write_text(kept)


def test_parts_of_different_front_ends_do_not_join() -> None:
    parts = debug_pipeline()
    with pytest.raises(VocalgenError, match="mismatch"):
        VocalBurstPipeline(parts.transformer, parts.autoencoder, debug_vocoder(MEL_16K_EXVO))


def test_the_16_khz_front_end_works() -> None:
    out = debug_pipeline(MEL_16K_EXVO)("awe")
    assert out.sample_rate == 16_000 and out.mels.shape[1] == 128


def test_edm_preconditioning_is_read_from_the_checkpoint() -> None:
    flow, edm = (debug_pipeline(kind=kind)("awe").mels for kind in ("flow", "edm"))
    assert np.abs(flow - edm).max() > 1e-3


def test_checkpoint_hash_follows_the_weights(copy: Path) -> None:
    before = checkpoint_sha256(copy)
    assert read_vocabulary(copy) == EMOGATOR30
    path = copy / "vocoder" / "model.safetensors"
    weights = load_file(path)
    weights["conv_post.bias"] += 1e-3
    save_file(weights, path, metadata={"format": "pt"})
    assert checkpoint_sha256(copy) != before and len(before) == 64
    assert file_sha256(path) not in before


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "meta"])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(VocalgenError, match="--device cpu"):
        choose_device(name)


def test_trimming_and_level(pipe: VocalBurstPipeline) -> None:
    wave = np.zeros(24_000, dtype=np.float32)
    wave[8_000:12_000] = 0.1 * np.sin(np.arange(4_000) / 5)
    cut = pipe.finish(wave)
    assert 4_000 < len(cut) < 7_000 and np.abs(cut).max() == pytest.approx(0.708, abs=2e-3)
    assert len(pipe.finish(wave, trim=False)) == 24_000
    assert np.abs(pipe.finish(wave, normalise=False)).max() == pytest.approx(0.1, abs=2e-3)


@pytest.mark.parametrize("load", LOADERS)
def test_griffin_lim_stands_in_for_a_vocoder(load: Loader, pipe: VocalBurstPipeline, tmp_path: Path) -> None:
    plain = GriffinLim(MEL_24K.to_dict(), n_iter=2)
    VocalBurstPipeline(pipe.transformer, pipe.autoencoder, plain).save_pretrained(tmp_path)
    out = load(tmp_path)("awe", trim=False)
    assert out.audio.shape == (1, 96 * 256)


def test_the_silence_behind_the_burst_is_not_vocoded(pipe: VocalBurstPipeline) -> None:
    """Nothing one could hear changes: the wave is that of the whole mel, and silent where the mel is."""
    mels = pipe.mels([pipe.condition("awe")], [0])
    mels[..., 40:] = pipe.mel.log_floor
    short, whole = pipe.waves(mels)[0], vocode(pipe.vocoder, mels)[0].numpy()
    assert short.shape == whole.shape
    assert not short[(40 + SILENCE_MARGIN) * 256 :].any()
    np.testing.assert_allclose(short[: 40 * 256], whole[: 40 * 256], atol=1e-3)
