"""Looking back: what was served and earned, whether it follows from the log, what else would have been earned."""
