"""The user's own program: fits models on the ledger's hours and leaves them as files, outside of the fleet.

`python -m services.fleet.tour.registry.outsider DSN DATA_DIR STREAM FOLDER`
"""

import sys
from pathlib import Path

from tidewheel.public.models import open_ledger, training_rows

HORIZON = 3  #: hours
FOREST, LINE, PICKLE = "my_forest.skops", "my_line.skops", "old_line.joblib"


def main(dsn: str, data_dir: str, stream: str, folder: str) -> None:
    """A forest and a line as skops, and the line as people used to save it."""
    import joblib
    import skops.io
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression

    db = open_ledger(dsn, Path(data_dir))
    rows, returns = training_rows(db, stream, HORIZON)
    db.close()
    forest = RandomForestRegressor(n_estimators=50, min_samples_leaf=20, random_state=1).fit(rows, returns)
    line = LinearRegression().fit(rows, returns)
    skops.io.dump(forest, Path(folder) / FOREST)
    skops.io.dump(line, Path(folder) / LINE)
    joblib.dump(line, Path(folder) / PICKLE)


if __name__ == "__main__":
    main(*sys.argv[1:5])
