"""Which entries will be read soon: a predictor, and its evaluation on traces of reads."""
