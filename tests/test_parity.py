"""docs/parity.md is walked: what it names as proof exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_row_names_a_proof_that_exists() -> None:
    """The last cell of each row of the first table is a test file, or a test in it."""
    table = (ROOT / "docs" / "parity.md").read_text().partition("## Deviations")[0]
    proofs = [row.rstrip(" |").rpartition("| ")[2].strip("`") for row in table.splitlines() if row.startswith("| ")][1:]
    missing = []
    for proof in proofs:
        file, _, name = proof.partition("::")
        text = (ROOT / file).read_text() if (ROOT / file).is_file() else ""
        if not text or (name and not re.search(rf"def {name}\(", text)):
            missing.append(proof)

    assert len(proofs) > 20
    assert missing == []
