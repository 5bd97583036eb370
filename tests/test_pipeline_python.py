"""The pipeline as Python people use it: silent loading, components, offload, numbers of numpy and torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate.hooks
import numpy as np
import pytest
import torch
from debug import debug_pipeline, debug_stylegan2
from diffusers.utils import logging as diffusers_logging
from test_msggan import generator as msggan_generator

from vocalgen import VocalBurstPipeline, VocalgenError
from vocalgen.emotions import HUME10, parse_condition
from vocalgen.generation.batch import plan
from vocalgen.generation.interpolation import End, interpolate
from vocalgen.generation.inversion import invert
from vocalgen.generation.pipeline import MSGGANPipeline
from vocalgen.generation.settings import Sampling, Truncation
from vocalgen.models.griffin_lim import GriffinLim


@pytest.fixture(scope="module")
def pipe() -> VocalBurstPipeline:
    return debug_pipeline()


@pytest.fixture(scope="module")
def gan() -> Any:
    return debug_stylegan2()


def readme_example(root: Path) -> str:
    """The first Python block of the README."""
    found = re.search(r"```python\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None and "from_pretrained()" in found[1]
    return found[1]


def test_readme_example_is_silent(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", readme_example(root)],
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_from_pretrained_with_a_network_of_transformers_is_silent(
    debug_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The debug checkpoint has a HiFi-GAN vocoder, which transformers loads with a progress bar of its own."""
    capfd.readouterr()
    loaded = VocalBurstPipeline.from_pretrained(debug_checkpoint)
    assert type(loaded.vocoder).__name__ == "SpeechT5HifiGan" and loaded.vocoder.dtype == torch.float32
    assert capfd.readouterr() == ("", "")
    assert diffusers_logging.is_progress_bar_enabled()


def test_pipeline_of_the_same_components_makes_the_same_clips(pipe: VocalBurstPipeline, gan: Any) -> None:
    again = VocalBurstPipeline(**pipe.components)
    assert again.defaults == pipe.defaults == {"steps": 3, "guidance": 2.0}
    np.testing.assert_array_equal(again("awe").mels, pipe("awe").mels)
    assert type(gan)(**gan.components).defaults == gan.defaults == {"psi": 0.9}
    swapped = VocalBurstPipeline(**{**pipe.components, "vocoder": GriffinLim(pipe.mel.to_dict())})
    assert swapped.defaults == pipe.defaults and type(swapped.vocoder) is GriffinLim
    assert VocalBurstPipeline.from_pipe(pipe).defaults == pipe.defaults
    assert pipe.to(torch.float32).components["sampling"] == pipe.defaults


def test_components_do_not_hand_out_the_settings_themselves(pipe: VocalBurstPipeline) -> None:
    pipe.components["sampling"]["steps"] = 99
    assert pipe.defaults["steps"] == 3


def msggan() -> MSGGANPipeline:
    torch.manual_seed(0)
    generator = msggan_generator("Awe")
    return MSGGANPipeline(generator, GriffinLim(generator.front_end.to_dict()))


@pytest.mark.parametrize("make", [debug_pipeline, debug_stylegan2, msggan])
def test_cpu_offload_wakes_each_network_before_it_runs(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is a CPU here; what is tested is that no network runs without its hook having been called."""
    plain, offloaded = make(), make()
    woken: list[str] = []
    wake = accelerate.hooks.CpuOffload.pre_forward

    def record(hook: Any, module: Any, *args: Any, **kwargs: Any) -> Any:
        woken.append(type(module).__name__)
        return wake(hook, module, *args, **kwargs)

    monkeypatch.setattr(accelerate.hooks.CpuOffload, "pre_forward", record)
    offloaded.enable_model_cpu_offload(device="cpu")
    assert offloaded.execution_device.type == "cpu"
    out = offloaded("awe", seed=1)
    names = [type(getattr(offloaded, name)).__name__ for name in offloaded.model_cpu_offload_seq.split("->")]
    present = [name for name in names if name != "NoneType"]
    assert list(dict.fromkeys(woken)) == present
    np.testing.assert_allclose(out.mels, plain("awe", seed=1).mels, atol=1e-4)
    np.testing.assert_array_equal(offloaded("awe", seed=1).mels, out.mels)


SEVEN = [np.int64(7), np.uint8(7), np.array(7), np.array([7]), torch.tensor(7), torch.tensor([7], dtype=torch.int32)]


@pytest.mark.parametrize("seven", SEVEN, ids=lambda value: f"{type(value).__module__}-{getattr(value, 'dtype', '')}")
def test_seed_is_any_integer_of_numpy_or_torch(pipe: VocalBurstPipeline, seven: Any) -> None:
    out = pipe("awe", seed=seven)
    assert out.seeds == [7] and type(out.seeds[0]) is int
    np.testing.assert_array_equal(out.mels, pipe("awe", seed=7).mels)


@pytest.mark.parametrize(
    "seeds", [np.arange(2), torch.arange(2), range(2), (np.int8(0), torch.tensor(1)), iter([0, 1])]
)
def test_seeds_are_any_sequence_of_integers(pipe: VocalBurstPipeline, seeds: Any) -> None:
    out = pipe("awe", 2, seeds=seeds)
    assert out.seeds == [0, 1] and {type(seed) for seed in out.seeds} == {int}
    np.testing.assert_array_equal(out.mels, pipe("awe", 2).mels)


def test_seed_none_draws_a_seed_and_tells_it(pipe: VocalBurstPipeline) -> None:
    first, second = (pipe(["awe", "fear"], num_samples=np.int64(2), seed=None) for _ in range(2))
    assert first.seeds[0] != second.seeds[0]
    assert first.seeds == 2 * [first.seeds[0], first.seeds[0] + 1]
    np.testing.assert_array_equal(pipe(["awe", "fear"], 2, seed=first.seeds[0]).mels, first.mels)


def test_counts_and_settings_are_numbers_of_numpy_or_torch(pipe: VocalBurstPipeline, gan: Any) -> None:
    expected = pipe("awe", 2, steps=4, guidance=1.5, duration=0.5)
    found = pipe(
        "awe",
        torch.tensor(2),
        steps=np.int32(4),
        guidance=np.float32(1.5),
        duration=torch.tensor(0.5, dtype=torch.float64),
    )
    np.testing.assert_array_equal(found.mels, expected.mels)
    stored = Sampling(steps=np.int64(4), guidance=np.float64(2), rho=torch.tensor(7)).to_dict()
    assert stored["steps"] == 4 and {type(stored[key]) for key in ("steps", "rho")} == {int}
    assert Truncation(psi=np.float32(0.5)).to_dict() == {"psi": 0.5}
    ends = [End(gan.condition(name), np.int64(3)) for name in ("awe", "fear")]
    assert len(interpolate(gan, *ends, np.int64(2))) == 2
    jobs = plan(["awe"], np.int64(2), HUME10, torch.tensor(5), "wav")
    assert [job.seed for job in jobs] == [5, 15] and type(jobs[0].seed) is int
    wave = np.zeros(gan.mel.hop_length * 96, np.float32)
    assert invert(gan, wave, torch.eye(30)[0], steps=np.int64(1), seed=np.uint8(2)).w.ndim == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": "7"}, "seed must be a whole number, got '7'"),
        ({"seed": np.float64(7)}, "seed must be a whole number"),
        ({"seed": torch.arange(2)}, "seed must be a whole number"),
        ({"seeds": 5}, "seeds must be a sequence of whole numbers, got 5"),
        ({"seeds": np.array([0.5])}, "seeds must be a whole number"),
        ({"seeds": None, "seed": np.int64(-1)}, "seeds must lie"),
        ({"num_samples": 2.0}, "num_samples must be a whole number, got 2.0"),
        ({"num_samples": None}, "num_samples must be a whole number, got None"),
        ({"steps": 4.5}, "steps must be a whole number, got 4.5"),
        ({"guidance": "much"}, "guidance must be a number, got 'much'"),
        ({"guidance": np.arange(2)}, "guidance must be a number"),
        ({"duration": "long"}, "duration must be a number"),
    ],
)
def test_what_is_no_number_is_refused(pipe: VocalBurstPipeline, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(VocalgenError, match=re.escape(words)):
        pipe("awe", **arguments)


def test_mixture_is_a_text_or_a_mapping(pipe: VocalBurstPipeline) -> None:
    expected = pipe("awe=0.7,fear=0.25")
    found = pipe({"Fear": np.float32(0.25), "awe": 0.7})
    assert found.labels == expected.labels == ["awe=0.7,fear=0.25"]
    np.testing.assert_array_equal(found.mels, expected.mels)
    several = pipe([{"awe": 1}, "fear", parse_condition("awe=0.5", pipe.emotions)])
    assert several.labels == ["awe", "fear", "awe=0.5"]
    for wrong, words in (({"aww": 1.0}, "awe"), ({"awe": 1.5}, "0 to 1"), ({}, "no weight above 0")):
        with pytest.raises(VocalgenError, match=words):
            pipe(wrong)
