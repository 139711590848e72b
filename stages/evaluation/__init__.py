"""Evaluation: how good what was synthesized is, how sure that is, and which stage is to blame.

`run.evaluate` is the whole of it in plain Python (no Prefect); `flows/evaluate.py` is the same as a flow.

    testset, folder     what is said, and anyone's audio of it
    bench, systems, chain, plan    who says it: the teacher, the chain, stages fed with the truth
    measures            what is measured beside the error rates: one function and one line each
    scores, compare, blame    numbers with intervals; two systems on the same sentences; the cost of every stage
    speed, alone        seconds of work per second of speech, and memory, in a process of its own
    report, page, players, plots    table, JSON, Markdown, and the HTML page
"""
