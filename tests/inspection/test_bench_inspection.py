"""The benchmark of looking at weights runs and prints what it promises. No test is judged by time."""

from __future__ import annotations

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
    held = bench_inspection.largest_private(lambda: [torch.ones(1 << 24) for _ in range(4)])
    assert held == 0 or held >= 0.7 * (1 << 28), "what is looked at every 2 ms may miss the last tensor"
