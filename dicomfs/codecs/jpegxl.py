"""JPEG XL streams, read without decoding: the size header (ISO/IEC 18181-1 Annex D, 18181-2)."""

from dicomfs.codecs.bitstream import CodecError, Codestream, box


class _Bits:
    """Reads numbers bit by bit, least significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:64], "little")

    def take(self, count: int) -> int:
        """Take the next *count* bits."""
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value


_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def read_header(data: bytes) -> Codestream:
    """Read the size header of a bare codestream or of the first codestream box."""
    start = 0 if data.startswith(b"\xff\x0a") else _codestream(data)
    if data[start : start + 2] != b"\xff\x0a":
        raise CodecError("the JPEG XL file holds no codestream")
    bits = _Bits(data[start + 2 : start + 66])
    small = bits.take(1)

    def side() -> int:
        return (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1

    rows = side()
    ratio = bits.take(3)
    columns = side() if ratio == 0 else rows * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1]
    return Codestream("jxl", rows, columns, 0, 0)


def _codestream(data: bytes) -> int:
    """Find the first codestream byte in a JPEG XL container (boxes jxlc, jxlp)."""
    found = box(data, b"jxlc", b"jxlp")
    if found is None:
        raise CodecError("the JPEG XL file holds no codestream")
    kind, content = found
    return content if kind == b"jxlc" else content + 4
