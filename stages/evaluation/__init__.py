"""Evaluation: how good what was synthesized is, how sure that is, and which stage is to blame.

`run.evaluate` is the whole of it in plain Python (no Prefect); `flows/evaluate.py` is the same as a flow.
"""
