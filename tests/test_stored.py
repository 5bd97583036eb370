"""Embeddings and statistics as files: exact, whole or not at all, and never a door for code."""

from __future__ import annotations

import base64
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError
from vocalgen.evaluation.pickled import read_arrays
from vocalgen.evaluation.stored import (
    UNKNOWN_COUNT,
    Embedded,
    Gaussian,
    Source,
    load,
    load_embeddings,
    load_statistics,
    same_encoder,
    save_embeddings,
    save_statistics,
)
from vocalgen.metrics.frechet import Statistics, frechet_distance, gaussian_distance

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

OLD = {  # written by numpy 1.26, protocols 2 and 4: {"mu": [1.5, -2], "sigma": [[2, 0.5], [0.5, 1]]}
    2: (
        "gAJ9cQAoWAIAAABtdXEBY251bXB5LmNvcmUubXVsdGlhcnJheQpfcmVjb25zdHJ1Y3QKcQJjbnVtcHkKbmRhcnJheQpxA0sAhXEE"
        "Y19jb2RlY3MKZW5jb2RlCnEFWAEAAABicQZYBgAAAGxhdGluMXEHhnEIUnEJh3EKUnELKEsBSwKFcQxjbnVtcHkKZHR5cGUKcQ1Y"
        "AgAAAGY4cQ6JiIdxD1JxEChLA1gBAAAAPHERTk5OSv////9K/////0sAdHESYoloBVgSAAAAAAAAAAAAw7g/AAAAAAAAAMOAcRNo"
        "B4ZxFFJxFXRxFmJYBQAAAHNpZ21hcRdoAmgDSwCFcRhoCYdxGVJxGihLAUsCSwKGcRtoEIloBVgjAAAAAAAAAAAAAEAAAAAAAADD"
        "oD8AAAAAAADDoD8AAAAAAADDsD9xHGgHhnEdUnEedHEfYnUu"
    ),
    4: (
        "gASV6QAAAAAAAAB9lCiMAm11lIwVbnVtcHkuY29yZS5tdWx0aWFycmF5lIwMX3JlY29uc3RydWN0lJOUjAVudW1weZSMB25kYXJy"
        "YXmUk5RLAIWUQwFilIeUUpQoSwFLAoWUaAWMBWR0eXBllJOUjAJmOJSJiIeUUpQoSwOMATyUTk5OSv////9K/////0sAdJRiiUMQ"
        "AAAAAAAA+D8AAAAAAAAAwJR0lGKMBXNpZ21hlGgEaAdLAIWUaAmHlFKUKEsBSwJLAoaUaBGJQyAAAAAAAAAAQAAAAAAAAOA/AAAA"
        "AAAA4D8AAAAAAADwP5R0lGJ1Lg=="
    ),
}


def embedded(n: int = 40, d: int = 3, checksum: str = "ab" * 32) -> Embedded:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    source = Source("net", checksum, ("Awe", "Fear"), ("Awe", "Fear", "Horror"), ("awe/x.wav: silent",))
    return Embedded(rng.normal(size=(n, d)), rng.normal(size=(n, 3)), labels, np.array([f"c{i}" for i in range(n)]),
                    np.array([f"s{i % 5}" for i in range(n)]), source)  # fmt: skip


def official(d: int = 4) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = np.random.default_rng(1).normal(size=(50, d)) @ np.random.default_rng(2).normal(size=(d, d))
    return x.mean(axis=0), np.cov(x.T)


def dumped(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def test_embeddings_come_back_bit_for_bit(tmp_path: Path) -> None:
    written = embedded()
    save_embeddings(tmp_path / "a.npz", written)
    read = load_embeddings(tmp_path / "a.npz")
    assert read.source == written.source
    for name in ("embeddings", "logits", "labels", "ids", "speakers"):
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)
    fear = read.of("fear")
    assert fear.ids.tolist() == [f"c{i}" for i in range(1, 40, 2)]
    assert len(fear.logits) == len(fear.speakers) == 20
    with pytest.raises(VocalgenError, match="Hory"):
        read.of("Hory")


def test_statistics_come_back_bit_for_bit_and_merge_on(tmp_path: Path) -> None:
    x = embedded(60).embeddings
    first, second = Statistics.of(x[:25]), Statistics.of(x[25:])
    save_statistics(tmp_path / "s.npz", first, Source("net", "ab"))
    found = load(tmp_path / "s.npz")
    assert isinstance(found, Gaussian) and found.source.encoder == "net"
    for name in ("count", "mean", "scatter", "cubic", "quartic"):
        assert np.array_equal(getattr(found.statistics, name), getattr(first, name)), name
    assert np.allclose((found.statistics + second).covariance(), np.cov(x.T))
    with pytest.raises(VocalgenError, match=r"s\.npz holds statistics only; embeddings are needed"):
        load_embeddings(tmp_path / "s.npz")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_official_pickles_of_every_protocol(protocol: int, order: Any, tmp_path: Path) -> None:
    mean, covariance = official()
    path = dumped(tmp_path / "m.pkl", {"mu": mean, "sigma": np.asarray(covariance, order=order)}, protocol)
    statistics = load_statistics(path)
    assert statistics.count == UNKNOWN_COUNT
    assert np.array_equal(statistics.mean, mean)
    assert statistics.covariance() == pytest.approx(covariance, rel=1e-12)
    assert statistics.covariance("ledoit-wolf") == pytest.approx(covariance, rel=1e-9)
    own = Statistics.of(embedded(30, 4).embeddings)
    expected = gaussian_distance(own.mean, own.covariance(), mean, covariance)
    assert frechet_distance(own, statistics) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("protocol", sorted(OLD))
def test_pickles_of_numpy_1(protocol: int, tmp_path: Path) -> None:
    data = base64.b64decode(OLD[protocol])
    assert b"numpy.core.multiarray" in data
    (tmp_path / "old.pkl").write_bytes(data)
    arrays = read_arrays(tmp_path / "old.pkl")
    assert arrays["mu"].tolist() == [1.5, -2.0]
    assert arrays["sigma"].tolist() == [[2.0, 0.5], [0.5, 1.0]]


def test_types_and_byte_orders(tmp_path: Path) -> None:
    values = {
        "f": np.arange(6, dtype="<f4").reshape(2, 3),
        "big": np.arange(3, dtype=">f8"),
        "n": np.float64(2.5),
        "k": 7,
    }
    for protocol in PROTOCOLS:
        read = read_arrays(dumped(tmp_path / "v.pkl", values, protocol))
        assert {name: array.tolist() for name, array in read.items()} == {
            "f": [[0, 1, 2], [3, 4, 5]], "big": [0, 1, 2], "n": 2.5, "k": 7
        }  # fmt: skip


class Malicious:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_malicious_pickle_does_nothing(protocol: int, tmp_path: Path) -> None:
    path = dumped(tmp_path / "m.pkl", {"mu": Malicious(tmp_path / "witness")}, protocol)
    with pytest.raises(VocalgenError, match=r"m\.pkl cannot be read .*it asks for \w+\.mkdir, which is not allowed"):
        load(path)
    assert not (tmp_path / "witness").exists()
    pickle.loads(path.read_bytes())  # it would have
    assert (tmp_path / "witness").exists()


def test_malice_inside_our_own_format_does_nothing(tmp_path: Path) -> None:
    with open(tmp_path / "m.npz", "wb") as file:
        np.savez(file, format=np.array("vocalgen-embeddings/1"), ids=np.array([Malicious(tmp_path / "witness")]))
    with pytest.raises(VocalgenError, match=r"m\.npz is damaged .*allow_pickle=False"):
        load(tmp_path / "m.npz")
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], "it holds no dictionary"),
        ({"mu": "text"}, "'mu' is neither an array nor a number"),
        ({"mu": np.array([{}], dtype=object)}, "values of type 'O8', which are no numbers"),
        ({"mu": np.array(["a"])}, "values of type 'U1', which are no numbers"),
        ({"mu": {1, 2}}, "it holds the operation EMPTY_SET"),
        ({"mu": np.ones(3)}, r"mu \(d,\) and sigma \(d, d\) are needed, it holds mu \(3,\)"),
        ({"mu": np.ones(3), "sigma": np.eye(2)}, r"sigma \(2, 2\)"),
        ({"mu": np.ones(2), "sigma": np.full((2, 2), np.nan)}, "NaN or infinity in mu or sigma"),
        ({"mu": np.ones(2), "sigma": np.array([[1.0, 0.5], [0.0, 1.0]])}, "sigma is not symmetric"),
    ],
)
def test_pickles_of_anything_else_are_refused(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match=message):
        load(dumped(tmp_path / "x.pkl", value))


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x80\x04.", b"PK\x03\x04 not a zip", b"\x80\x04}\x94(", b"RIFF"])
def test_damaged_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(VocalgenError, match=r"x\.npz (cannot be read|is damaged)"):
        load(tmp_path / "x.npz")


def test_every_truncation_of_a_pickle_is_refused(tmp_path: Path) -> None:
    mean, covariance = official(2)
    whole = pickle.dumps({"mu": mean, "sigma": covariance})
    for length in range(len(whole)):
        (tmp_path / "x.pkl").write_bytes(whole[:length])
        with pytest.raises(VocalgenError):
            load(tmp_path / "x.pkl")


def test_foreign_and_inconsistent_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "foreign.npz", x=np.ones(3))
    with pytest.raises(VocalgenError, match=r"foreign\.npz: its format is 'not ours'"):
        load(tmp_path / "foreign.npz")
    with pytest.raises(VocalgenError, match=r"cannot read .*none\.npz: No such file"):
        load(tmp_path / "none.npz")
    save_embeddings(tmp_path / "a.npz", embedded())
    with np.load(tmp_path / "a.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    changes: dict[str, tuple[Any, str]] = {
        "embeddings": (np.where(np.arange(40)[:, None] == 7, np.nan, arrays["embeddings"]), "NaN .* the first is c7"),
        "labels": (arrays["labels"] + 1, "labels from 1 to 2 of 2 emotions"),
        "logits": (arrays["logits"][:-1], "40 clips"),
        "source": (np.array("{"), "is damaged"),
    }
    for name, (value, message) in changes.items():
        np.savez(tmp_path / "b.npz", **{**arrays, name: value})
        with pytest.raises(VocalgenError, match=message):
            load(tmp_path / "b.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_embeddings(tmp_path / "a.npz", embedded())
    before = (tmp_path / "a.npz").read_bytes()

    def fails(file: io.BufferedWriter, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fails)
    with pytest.raises(VocalgenError, match=r"cannot write .*a\.npz: No space left"):
        save_embeddings(tmp_path / "a.npz", embedded(10), overwrite=True)
    assert (tmp_path / "a.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_two_encoders_are_not_compared() -> None:
    a, b = Source("one", "a" * 64), Source("two", "b" * 64)
    same_encoder(a, a)
    same_encoder(a, Source())
    with pytest.raises(VocalgenError, match=r"one \(a{12}\) and two \(b{12}\); embed both with one"):
        same_encoder(a, b)
