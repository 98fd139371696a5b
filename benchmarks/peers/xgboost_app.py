"""What a desk would write in an afternoon: FastAPI before XGBoost's `inplace_predict`, the caller sends the features.

The model is the file that the variable PEER_MODEL names.
"""

import os
from typing import Annotated, Any

import numpy as np
import xgboost
from fastapi import Body, FastAPI


def build() -> FastAPI:
    """The app."""
    app, booster = FastAPI(), xgboost.Booster({"nthread": 1}, model_file=os.environ["PEER_MODEL"])

    @app.post("/predict")
    def predict(features: Annotated[list[float], Body(embed=True)]) -> dict[str, Any]:
        return {"predicted_value": float(booster.inplace_predict(np.array([features]))[0])}

    return app
