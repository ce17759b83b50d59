"""Stored values equal those of every program that decodes the frame: pydicom's plugins, imagecodecs, DCMTK, GDCM.

Exactly for lossless syntaxes, within one level for lossy 8-bit ones, and within what the programs disagree on
themselves for the others. The table of all that was compared is printed at the end of the run.
"""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from support.archives import CORPUS, PYDICOM_DATA, SAMPLES, corpus_files, swept
from support.oracles import (
    TABLE,
    Answers,
    Ours,
    Table,
    as_stored,
    ask_dcmtk,
    ask_gdcm,
    ask_imagecodecs,
    ask_pydicom,
    ours,
)

# Files that are broken, and the rule by which their frames are refused. Nothing else may be.
REFUSED = {
    # The size of the image in the codestream was overwritten.
    "JPEG2000-embedded-sequence-delimiter.dcm": "(E21)",
    # 31 bytes of the only frame are missing. GDCM makes zeros of them.
    "MR_truncated.dcm": "(N3)",
}
# Whom we do not believe, and why.
MISTAKEN = {
    ("SC_rgb_rle_16bit.dcm", "GDCM"): "byte planes of samples wider than 8 bits are put together wrongly",
    ("SC_rgb_rle_32bit.dcm", "GDCM"): "byte planes of samples wider than 8 bits are put together wrongly",
    ("rtdose_expb.dcm", "DCMTK"): "32-bit big endian samples are swapped as 16-bit words",
    ("rtdose_expb.dcm", "GDCM"): "32-bit big endian samples are swapped as 16-bit words",
    ("rtdose_expb_1frame.dcm", "DCMTK"): "32-bit big endian samples are swapped as 16-bit words",
    ("rtdose_expb_1frame.dcm", "GDCM"): "32-bit big endian samples are swapped as 16-bit words",
    ("RG3_JPLY", "GDCM"): "what lossy coding pushed beyond Bits Stored is cut off, so that white becomes black",
    (
        "TOSHIBA_J2K_SIZ1_PixRep0.dcm",
        "pydicom pillow",
    ): "a signed stream is shifted where it should be reinterpreted (C5)",
    ("TOSHIBA_J2K_SIZ1_PixRep0.dcm", "imagecodecs"): "the sign of the stream is kept, which the header denies (C5)",
    ("HTJ2K_08_RGB.dcm", "imagecodecs"): "OpenJPH lets samples beyond the range wrap around",
    **{
        ("JPEGLossless_1s_1f_i_16_16_bad.dcm", judge): "the stream of a faulty encoder is followed to the letter (C8)"
        for judge in ("imagecodecs", "DCMTK", "GDCM", "pydicom gdcm")
    },
    **{
        (
            "JPEGBaseline/SC_rgb_jpeg_lossy_gdcm.dcm",
            judge,
        ): "RGB is believed of a subsampled stream: red becomes (76, 85, 255)"
        for judge in ("DCMTK", "GDCM", "pydicom gdcm", "pydicom pillow")
    },
}
# A series has 80 slices of one kind; some stand for all.
CORPUS_FILES = corpus_files()


def corpus_id(path: Path) -> str:
    return str(path.relative_to(CORPUS))


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Table:
    return request.config.stash.setdefault(TABLE, Table())


def check(path: Path, table: Table, program: Callable[[str], str], folder: Path) -> None:
    """Compare the frames of one file with every oracle's."""
    data = path.read_bytes()
    mine = ours(data)
    if mine is None:
        return
    assert mine.instance.pixels
    syntax = mine.instance.transfer_syntax
    answers = [
        *ask_pydicom(data, mine.rgb),
        ("imagecodecs", ask_imagecodecs(data, mine.instance.pixels.format.samples)),
        ("DCMTK", ask_dcmtk(path, syntax, mine.rgb, program, folder)),
        ("GDCM", ask_gdcm(path, mine.rgb, program, folder)),
    ]
    row = table.row(syntax)
    row.files += 1
    for frame, values in enumerate(mine.frames):
        row.frames += 1
        judges = {name: given[frame] for name, given in answers if frame < len(given) and given[frame] is not None}
        row.judged += bool(judges)
        if isinstance(values, str):
            row.refused[f"{path.name}: {values}"] = row.refused.get(f"{path.name}: {values}", 0) + 1
            assert REFUSED.get(path.name, "no reason") in values, f"refused by us, decoded by {list(judges)}"
            continue
        assert path.name not in REFUSED
        row.decoded += 1
        # Two samples have one name.
        name = "/".join(path.parts[-2:]) if path.parent.name == "JPEGBaseline" else path.name
        worst = compare(name, values, {name: as_stored(words, mine) for name, words in judges.items()}, mine)
        row.exact += worst == 0
        row.near += worst is not None and worst > 0
        row.worst = max(row.worst, worst or 0)


def compare(name: str, values: np.ndarray, judges: dict[str, np.ndarray], mine: Ours) -> float | None:
    """Give the greatest difference to a judge that is believed; none may be more than the syntax allows."""
    believed = {judge: theirs for judge, theirs in judges.items() if (name, judge) not in MISTAKEN}
    allowed = 1.0 if mine.lossy else 0.0
    if mine.lossy and values.dtype.itemsize > 1:
        allowed = max([allowed, *(difference(one, other) for one, other in combinations(believed.values(), 2))])
    found = {judge: difference(values, theirs) for judge, theirs in believed.items()}
    assert all(found[judge] <= allowed for judge in believed), f"{found}, of which {allowed} allowed"
    for judge in judges.keys() - believed.keys():
        assert difference(values, judges[judge]) > allowed, f"{judge} is right about {name} after all"
    return max(found.values(), default=None)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


@pytest.mark.parametrize("path", swept(SAMPLES))
def test_samples_equal_every_oracle(path: Path, table: Table, program: Callable[[str], str], tmp_path: Path) -> None:
    check(path, table, program, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", CORPUS_FILES, ids=corpus_id)
def test_the_corpus_equals_every_oracle(
    path: Path, table: Table, program: Callable[[str], str], tmp_path: Path
) -> None:
    check(path, table, program, tmp_path)


def frames_of(path: Path) -> Answers:
    """Decode a file all of whose frames must decode."""
    mine = ours(path.read_bytes())
    assert mine
    assert all(isinstance(values, np.ndarray) for values in mine.frames), mine.frames
    return [values for values in mine.frames if isinstance(values, np.ndarray)]


@pytest.mark.parametrize("family", ["J2KR", "JPLL", "JLSL", "RLE"])
def test_wg04_lossless_equals_the_uncompressed_truth(family: str, corpus: Path | None) -> None:
    compared = 0
    for path in sorted((corpus / "WG04" / family).iterdir()) if corpus else ():
        truth = path.parents[1] / "REF" / path.name.replace(family, "UNC")
        if truth.exists():
            for values, expected in zip(frames_of(path), frames_of(truth), strict=True):
                assert values is not None
                assert expected is not None
                assert values.dtype == expected.dtype
                assert np.array_equal(values, expected), path.name
                compared += 1
    assert corpus is None or compared >= 6


def test_wg04_all_extended_jpegs_decode_near_the_truth(corpus: Path | None) -> None:
    """JPEG extended with Se=0 in the scan header, as the whole family has it (E22)."""
    paths = sorted((corpus / "WG04" / "JPLY").iterdir()) if corpus else []
    for path in paths:
        (values,) = frames_of(path)
        truth = path.parents[1] / "REF" / path.name.replace("JPLY", "UNC")
        if truth.exists():
            (expected,) = frames_of(truth)
            assert values is not None
            assert expected is not None
            assert np.abs(values.astype(int) - expected.astype(int)).mean() < 0.01 * np.ptp(expected.astype(int))
    assert corpus is None or len(paths) >= 8


@pytest.mark.parametrize("name", ["liver", "liver_nonbyte_aligned"])
def test_one_segmentation_in_every_syntax(name: str, corpus: Path | None) -> None:
    """Deflated frames of single bits, which no other program here decodes, equal their other encodings."""
    if corpus is None:
        return
    folder = corpus / "pydicom-data-new"
    versions = [
        frames_of(path)
        for path in sorted(folder.glob(f"{name}_[rjd]*.dcm"))
        if "nonbyte" in name or "nonbyte" not in path.name
    ]
    assert len(versions) == 3
    for version in versions[1:]:
        for values, expected in zip(version, versions[0], strict=True):
            assert values is not None
            assert expected is not None
            assert np.array_equal(values, expected)


def test_a_stream_without_its_end_equals_the_whole_one() -> None:
    """Only this program reads it, so that its sibling is the judge (E12)."""
    whole, cut = (frames_of(PYDICOM_DATA / f"emri_small_jpeg_2k_lossless{end}.dcm") for end in ("", "_too_short"))
    assert len(whole) == len(cut) == 10
    assert all(np.array_equal(one, other) for one, other in zip(whole, cut, strict=True))
