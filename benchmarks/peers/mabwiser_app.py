"""What a desk would write in an afternoon: FastAPI before MABWiser, in memory, nothing durable."""

from typing import Annotated, Any

import numpy as np
from fastapi import Body, FastAPI, Request
from mabwiser.mab import MAB, LearningPolicy

PRESETS = ["balanced", "fast", "patient"]
FEATURES = ["vol", "hmm_trend", "volume_z"]


def build() -> FastAPI:
    """The app; its bandit knows one outcome of each preset."""
    app, mab = FastAPI(), MAB(PRESETS, LearningPolicy.LinTS(alpha=1.0, l2_lambda=1.0), seed=1)
    mab.fit(PRESETS, [0.0] * len(PRESETS), np.ones((len(PRESETS), len(FEATURES))))

    @app.get("/param/{strategy}/{instrument:path}")
    def param(request: Request) -> dict[str, Any]:
        x = [[float(request.query_params.get(f"features[{name}]", 0.0)) for name in FEATURES]]
        return {"config_id": "1", "preset_id": mab.predict(x)}

    @app.post("/learn/outcome/{strategy}/{instrument:path}/{preset_id}")
    def learn(preset_id: str, reward: Annotated[float, Body(embed=True)]) -> dict[str, Any]:
        mab.partial_fit([preset_id], [reward], [[0.65, 0.0, 0.0]])
        return {"learnt": True}

    return app
