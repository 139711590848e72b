"""Work for worker processes, some of which does not survive it."""

import os


def double(jobs, *killers):
    """Twice every job; a job among `killers` ends the process at once, as a crash of a decoder does."""
    if set(jobs) & set(killers):
        os._exit(9)
    return [2 * job for job in jobs]
