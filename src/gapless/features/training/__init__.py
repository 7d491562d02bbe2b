"""Training of models on features: who trains, what a run is, how far it is, and predicting with it."""
