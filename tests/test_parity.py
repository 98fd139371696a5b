"""docs/parity.md is walked: what it names as proof exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_row_names_a_proof_that_exists() -> None:
    """The last cell of each row of the tables before the deviations is a test file, or a test in it."""
    table = (ROOT / "docs" / "parity.md").read_text().partition("## Deviations")[0]
    cells = [row.rstrip(" |").rpartition("| ")[2] for row in table.splitlines() if row.startswith("| ")]
    proofs = [cell.strip("`") for cell in cells if cell != "proof"]
    missing = []
    for proof in proofs:
        file, _, name = proof.partition("::")
        text = (ROOT / file).read_text() if (ROOT / file).is_file() else ""
        if not text or (name and not re.search(rf"def {name}\(", text)):
            missing.append(proof)

    assert len(proofs) > 50
    assert missing == []
