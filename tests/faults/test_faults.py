"""Faults injected into `caretta batch`: a rerun ends as if nothing had happened, and computes nothing a second time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("driver.py")


def inject(case, *options):
    """The driver's report; fails with its problems."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), case, *map(str, options)],
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode in (0, 1) and done.stdout, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    print(report)
    assert report["problems"] == []
    return report


def test_kill_at_write_boundaries_loses_nothing():
    report = inject("boundaries", "--every", 11)
    assert report["boundaries"] > 500 and report["kills"] > 40 and report["finished_before"] > 0


def test_kill_at_random_moments_loses_nothing():
    assert inject("moments", "--kills", 20)["kills"] >= 20


def test_kill_of_eight_processes_on_one_store_loses_nothing():
    assert inject("moments", "--kills", 8, "--processes", 8)["kills"] >= 8


def test_full_or_failing_disk_is_one_sentence_and_heals():
    report = inject("full", "--every", 90)
    assert report["refused"] >= 8


def test_full_tmpfs_is_one_sentence_and_heals():
    report = inject("tmpfs", "--every", 14)
    if "skipped" in report:
        pytest.skip(report["skipped"])
    assert report["refused"] > 0


def test_without_rights_is_one_sentence_and_changes_nothing():
    assert inject("readonly")["cases"] > 0


def test_flipped_bit_in_stored_files_heals():
    report = inject("flips", "--every", 5)
    assert report["healed"] > 0


@pytest.mark.slow
def test_kill_at_every_write_boundary():
    report = inject("boundaries")
    assert report["kills"] >= report["boundaries"] - 5  # threads may end in another order


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 8])
def test_kill_at_two_hundred_moments(processes):
    assert inject("moments", "--kills", 200, "--processes", processes)["kills"] >= 200


@pytest.mark.slow
def test_disk_full_at_every_write_boundary():
    assert inject("full", "--every", 2)["refused"] > 500


@pytest.mark.slow
def test_flipped_bits_in_every_stored_file():
    kinds = inject("flips", "--bits", 20)["kinds"]
    assert {"Voice", "Phonemes", "Candidate", "RankedCodes", "Mel", "Audio", "Lineage"} < set(kinds)
    assert {".wav", "manifest.jsonl", "SHA256SUMS", "choices.yaml", "config.yaml"} < set(kinds)
