"""Prediction on the servers: what may be warmed, what has been learnt, and figures for operators."""
