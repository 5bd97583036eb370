"""What the tables of an evaluation report hold, section by section: where columns are named and explained.

A report is JSON-ready:

    {"schema": "vocalgen-evaluation/1",
     "systems": [names of what was evaluated], "anchors": [names of the rows to read them against],
     "conditions": {...}, "warnings": [sentences],
     "sections": {key: {"kind": key of SECTIONS, "encoder": name or None, "rows": {name: row}}},
     "confusion": {name: counts (K, H), rows are what was asked for}, "emotions": [K names], "heard": [H names],
     "between": {name: distances (K, K) between the emotions of a set},
     "differences": [{"a", "b", "section", "column", "value": interval}],
     "published": [rows of published tables]}

where a row is {"overall": {column: value}, "emotions": {emotion: {column: value}}} and a value is a number, an interval
[value, low, high], or None where it is not defined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA = "vocalgen-evaluation/1"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: its head.
        meaning: one sentence for the legend.
        form: how a number is written.
        better: in which direction values are better; None where neither is, or real clips are the aim.
    """

    title: str
    meaning: str
    form: str = "{:.2f}"
    better: Literal["low", "high"] | None = None


@dataclass(frozen=True)
class Section:
    """A group of columns that are computed together.

    Args:
        title: its heading.
        overall: columns of the table of all rows.
        emotions: columns of the table of one system's emotions.
    """

    title: str
    overall: dict[str, Column]
    emotions: dict[str, Column]


_FRECHET = Column("Fréchet", "Squared Fréchet distance of the embeddings from the reference.", better="low")
_RATIO = Column("/ floor", "Fréchet distance / that of as many real clips (floor).", better="low")
_POSITION = Column(
    "position",
    "(distance - floor) / (worst anchor - floor): 0 is as good as real clips, 1 as bad as the worst anchor.",
    "{:.3f}",
    "low",
)
_INFINITY = Column(
    "FD∞", "Fréchet distance extrapolated to endlessly many clips on both sides; may fall below zero.", better="low"
)
_KAD = Column("KAD", "Kernel audio distance, unbiased, times 100; bandwidth from the reference.", "{:.2f}", "low")
_KAD_P = Column(
    "p",
    "Share of exchanges of whole speakers for generated clips with a larger KAD: small tells the sets apart.",
    "{:.3f}",
)
_DENSITY = Column("density", "How densely real clips lie around generated ones; 1 as real.", "{:.2f}", "high")
_COVERAGE = Column("coverage", "Share of real clips with a generated one among their neighbours.", "{:.2f}", "high")
_VENDI = Column("Vendi", "Effective number of different clips, a Gaussian kernel as wide as KAD's.", "{:.1f}", "high")
_TOP1 = Column("top-1", "Share of clips the classifier gives to the emotion they were made for.", "{:.3f}", "high")
_TOP3 = Column("top-3", "Share with that emotion among the three most likely.", "{:.3f}", "high")

SECTIONS: dict[str, Section] = {
    "distance": Section(
        "Distance from real clips",
        {
            "frechet": Column("Fréchet", "Mean over the emotions of the Fréchet distance.", better="low"),
            "ratio": Column("/ floor", "Mean over the emotions of distance / floor.", better="low"),
            "position": _POSITION,
            "pooled": Column("pooled", "Fréchet distance of all emotions together.", better="low"),
            "pooled_ratio": Column("pooled / floor", "The same / that of real clips.", better="low"),
            "fd_infinity": Column("pooled FD∞", _INFINITY.meaning, better="low"),
            "kad": _KAD,
            "density": _DENSITY,
            "coverage": _COVERAGE,
            "vendi": _VENDI,
        },
        {
            "n": Column("n", "Clips.", "{:.0f}"),
            "frechet": _FRECHET,
            "floor": Column("floor", "The same distance for as many real clips.", better=None),
            "ratio": _RATIO,
            "position": _POSITION,
            "fd_infinity": _INFINITY,
            "kad": _KAD,
            "kad_p": _KAD_P,
            "density": _DENSITY,
            "coverage": _COVERAGE,
            "vendi": _VENDI,
        },
    ),
    "recognition": Section(
        "Is the emotion recognised?",
        {
            "top1": _TOP1,
            "top3": _TOP3,
            "uar": Column("UAR", "Mean over the emotions of top-1.", "{:.3f}", "high"),
            "cas": Column(
                "CAS",
                "Classification accuracy score: accuracy on real held-out clips of a linear classifier that was "
                "trained on these clips, on top of the encoder.",
                "{:.3f}",
                "high",
            ),
            "proxy_heep": Column(
                "proxy HEEP",
                "HEEP computed from the classifier's probabilities in place of human ratings; not a HEEP.",
                "{:.3f}",
                "high",
            ),
        },
        {
            "top1": _TOP1,
            "top3": _TOP3,
            "confused": Column("most often taken for", "The emotion that most of the other clips are given to.", "{}"),
        },
    ),
    "acoustics": Section(
        "How do they sound?",
        {
            "seconds": Column("seconds", "Mean length after trimming."),
            "seconds_w1": Column("W1", "Wasserstein distance of the lengths from the reference, s.", better="low"),
            "loudness": Column("loudness", "Mean level of the sounding frames, dB.", "{:.1f}"),
            "loudness_w1": Column("W1", "Wasserstein distance of the levels, dB.", "{:.1f}", "low"),
            "pitch": Column("pitch", "Mean over clips of the median pitch, semitones over 55 Hz.", "{:.1f}"),
            "pitch_w1": Column("W1", "Wasserstein distance of the median pitches, semitones.", "{:.1f}", "low"),
            "voiced": Column("voiced", "Mean share of sounding frames that have a pitch.", "{:.2f}"),
            "voiced_w1": Column("W1", "Wasserstein distance of the shares.", "{:.2f}", "low"),
        },
        {},
    ),
    "memory": Section(
        "Are they copies?",
        {
            "mel": Column("mel", "Median distance of the log-mel to the nearest training clip, nat.", better=None),
            "mel_ratio": Column(
                "/ held out", "The same / that of real held-out clips; well below 1 means memorised.", better=None
            ),
            "embedding": Column("embedding", "Median distance of the embedding to the nearest training clip."),
            "embedding_ratio": Column("/ held out", "The same / that of real held-out clips."),
            "copies": Column(
                "copies",
                "Clips as near to a training clip as no held-out clip is, by log-mel and by embedding both.",
                "{:.0f}",
                "low",
            ),
            "repeats": Column(
                "repeats",
                "Share of clips nearer to another clip of the set than 99 % of real clips are; .01 as real.",
                "{:.3f}",
                "low",
            ),
            "exact": Column("exact", "Clips that another clip of the set repeats exactly.", "{:.0f}", "low"),
        },
        {},
    ),
    "ratings": Section(
        "What people heard",
        {
            "heep": Column("HEEP", "Correlation of target and mean human rating.", "{:.3f}", "high"),
            "s_gen": Column("S_GEN", "Mean over the emotions of (1 / FID + HEEP) / 2.", "{:.3f}", "high"),
            "alpha": Column("alpha", "Krippendorff's alpha of the raters, interval scale.", "{:.3f}"),
            "raters": Column("raters", "People who rated.", "{:.0f}"),
        },
        {
            "heep": Column("HEEP", "Correlation over the clips of this rating and `made for it`.", "{:.3f}", "high"),
            "s_gen": Column("S_GEN", "(1 / FID + HEEP) / 2.", "{:.3f}", "high"),
        },
    ),
}
for _key in ("acoustics", "memory"):
    SECTIONS[_key].emotions.update(SECTIONS[_key].overall)
