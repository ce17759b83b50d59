"""Names of files made from DICOM values, which may hold anything: the one function that no hostile value survives.

A name can be decoded again: every byte that is not allowed stands as %XX, and % itself is not allowed. What is
added to a name begins with ~, which no value can bring along.
"""

import hashlib
import unicodedata

LONGEST = 200
"""Bytes of a name before the mark of a shortened one; file systems allow 255, of which ours may add some."""

UNNAMED = "unnamed"

_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=+,@-")
# Letters by their category that are shown as nothing: fillers of Hangul syllables.
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0")


def safe_name(value: str) -> str:
    """Make *value* a name: NFC, letters and digits of any script and a few signs as they are, all else as %XX.

    A name never begins with a dot or a hyphen and is never empty. One that is too long is cut, and a hash of the
    whole value tells it from others.
    """
    parts = [_part(character, not place) for place, character in enumerate(unicodedata.normalize("NFC", value))]
    if not parts:
        return UNNAMED
    name = "".join(parts)
    if len(name.encode()) <= LONGEST:
        return name
    length, kept = 0, []
    for part in parts:
        length += len(part.encode())
        if length > LONGEST:
            break
        kept.append(part)
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{''.join(kept)}~{digest[:8]}"


def _part(character: str, first: bool) -> str:
    """Return one character as it may stand in a name."""
    if character in _ALLOWED:
        plain = not (first and character in ".-")
    else:
        plain = unicodedata.category(character) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd") and character not in _INVISIBLE
    return character if plain else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
