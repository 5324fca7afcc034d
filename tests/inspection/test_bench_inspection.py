"""The benchmark of looking at weights runs and prints what it promises. No test is judged by time."""

from __future__ import annotations

import time

import pytest
import torch

from tests.benchmarks import bench_inspection


def test_a_short_run_has_every_figure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_inspection, "COPIED", 1 << 12)
    before = torch.get_num_threads()
    one, two = bench_inspection.main(["--layers", "2", "--width", "64", "--repeats", "1"])
    assert torch.get_num_threads() == before
    heading, names, *lines = capsys.readouterr().out.splitlines()
    assert heading.startswith("1 M parameters")
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert len(lines[0].split()) == 7
    assert names.split()[0] == "threads"
    for figures in (one, two):
        assert min(figures.passed, figures.copied, figures.dial) > 0

        assert 0 <= figures.private < 500e6


def test_private_memory_is_what_a_run_holds() -> None:
    def holds() -> None:
        held = [torch.ones(1 << 24) for _ in range(4)]
        time.sleep(0.3)  # it is looked at every 2 ms, where there is a processor for that
        assert len(held) == 4

    found = bench_inspection.largest_private(holds)
    assert found == 0 or found >= 0.95 * (1 << 28)
