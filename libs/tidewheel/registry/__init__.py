"""Registered models: from a path that a user sent to a predictor in memory, or a refusal.

```
service.py       ModelService: what callers see; the rooms below do the work
registration.py  what a user says of a file becomes a row: found, tried, named by its digest
  files.py       his path becomes bytes: below the root, through no link
  bundles.py     what a folder of ours says of itself
  found.py       what either look finds
  config.py      feature_config, read and held against the model
  trial.py       a child process checks, loads and asks the model
  formats/       a file each: what is sound, and how it is loaded
trust.py         a pickle becomes a skops file, once, by an operator's word
  unpickling.py  the child that opens it
  sandbox.py     what that child gives up first
loaded.py        a model in memory, whatever it was made of
cache.py         those used last
hours.py         which stream is meant, and the hours that a forecast is made from
forecasting.py   an answer as a price, and the interval around it
scoring.py       what came of saved predictions: errors and coverage
drifting.py      how far their inputs lie from those that the model knew
rival.py         a loaded version as the trainer's comparison asks it
training.py      the features and targets that a user fits his model on
export.py        our baseline as a file, to try registration with
```
"""
