"""Rules for irregular files: docs/rules.md has each that code and messages cite, and no other."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "rules.md").read_text()
RULE = r"[CEGHLMN][1-9]\d?"
# What a citation looks like: at the end of parentheses, alone in quotes, or after the word.
PARENTHESES = re.compile(rf"\([^()]*?((?:{RULE}(?:, | and | to |-))*{RULE})\)")
ALONE = re.compile(rf"""["']({RULE})["']""")
NAMED = re.compile(rf"\brules? ({RULE}(?:(?:, | and ){RULE})*)")


def cited(text: str) -> set[str]:
    """Return the rules that a text cites; "C1 to C4" cites four."""
    found = set()
    for citation in (*PARENTHESES.findall(text), *ALONE.findall(text), *NAMED.findall(text)):
        for first, last in re.findall(rf"({RULE})(?:(?: to |-)({RULE}))?", citation):
            numbers = range(int(first[1:]), int((last or first)[1:]) + 1)
            found.update(f"{first[0]}{number}" for number in numbers)
    return found


def cited_below(folder: str) -> set[str]:
    paths = [path for path in (PROJECT / folder).rglob("*.py") if path != Path(__file__)]
    return set().union(*(cited(path.read_text()) for path in paths))


def described() -> list[str]:
    return re.findall(rf"^\* <a id=\"[a-z0-9]+\"></a>\*\*({RULE})\*\* ", PAGE, re.MULTILINE)


def test_citations_are_recognised() -> None:
    assert cited('"cut short (E16)"') == {"E16"}
    assert cited("(PS3.10 7.1, H7); (G20, G21) and rules L1 and L2") == {"H7", "G20", "G21", "L1", "L2"}
    assert cited("({'E6' if encapsulated else 'N3'}), (C1 to C4)") == {"E6", "N3", "C1", "C2", "C3", "C4"}
    assert cited("a set into G1 (C0, C1, line ends), D5 5C, C.12-3 and 128 by M2 pixels") == set()


def test_every_rule_that_the_code_cites_is_described() -> None:
    assert cited_below("dicomfs") - set(described()) == set()


def test_every_rule_that_is_described_is_cited() -> None:
    assert set(described()) - (cited_below("dicomfs") | cited_below("tests")) == set()


def test_rules_have_an_anchor_each_and_are_in_order() -> None:
    for line in PAGE.splitlines():
        if line.startswith("* "):
            assert re.match(rf"\* <a id=\"([a-z0-9]+)\"></a>\*\*({RULE})\*\* ", line), line
    anchors = re.findall(r'<a id="([^"]+)">', PAGE)
    assert anchors == [rule.lower() for rule in described()]
    assert len(set(anchors)) == len(anchors)
    for letter in "CEGHLMN":
        numbers = [int(rule[1:]) for rule in described() if rule[0] == letter]
        assert numbers == sorted(numbers)
