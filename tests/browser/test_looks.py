"""What the workbench looks like, light and dark, wide and narrow: nothing cut off, text that can be read, pictures.

With ``MERGELAB_SCREENSHOT`` set to a folder, the pictures of the docs are written there (``make screenshot``).
"""

from __future__ import annotations

import base64
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from mergelab import sample
from mergelab.studies.scores import skill
from mergelab.views.workbench import Workbench
from tests.browser.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
KEPT = (1180, 800)  # widths that the docs show
# Named from within the family's folder: the pictures show no path of a machine.
POSED = """\
merge_method: passthrough
base_model: base
slices:
  - sources: [{model: pirate, layer_range: [0, 2]}]
  - sources: [{model: arithmetic, layer_range: [2, 4]}]
  - merge_method: ties
    sources:
      - {model: base, layer_range: [3, 7]}
      - {model: pirate, layer_range: [3, 7], parameters: {weight: [1, 0.7, 0.5, 0.9]}}
  - sources: [{model: pirate, layer_range: [6, 10]}]
"""
# Words whose every letter must be there, at every width.
WHOLE = "h3, .ml-button, .ml-counts dd, .ml-counts dt, .ml-detail, .ml-tokens td, .ml-curve-kind, .ml-refuse-words"
CUT = """(root, words) => [...root.querySelectorAll(words)]
  .filter((one) => one.offsetParent && getComputedStyle(one).display !== "inline")
  .filter((one) => one.scrollWidth > one.clientWidth + 1)
  .map((one) => `${one.className}: ${one.textContent}`)"""
# Words that stand in each other's way, or outside the widget.
OUTSIDE = """(root) => { const { left, right } = root.getBoundingClientRect();
  return [...root.querySelectorAll("h3, button, select, input, table, p, .ml-counts > div")]
    .filter((one) => one.offsetParent && !one.closest(".ml-hidden, .ml-scroll, .ml-history-scroll, .ml-code"))
    .filter((one) => { const box = one.getBoundingClientRect(); return box.left < left - 1 || box.right > right + 1; })
    .map((one) => `${one.className}: ${one.textContent}`); }"""
# Contrast of every text as WCAG 2 has it, with the background that is painted behind it.
FAINT = """(root) => {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => { context.clearRect(0, 0, 1, 1); context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (one) => { const layers = []; for (let at = one; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor); layers.push(colour); if (colour[3] === 1) break; }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]); };
  const light = (colour) => colour.slice(0, 3).map((each) => each / 255)
    .map((each) => (each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
    .reduce((sum, each, i) => sum + each * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (one, other) => { const [a, b] = [light(one), light(other)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); };
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = {}; let count = 0;
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const one = text.parentElement;
    if (!text.data.trim() || !one.getClientRects().length) continue;
    if (one.closest(".ml-hidden, [aria-disabled=true], option, svg [class*=ml-on]")) continue;
    const look = getComputedStyle(one);
    const ground = behind(one);
    const ink = rgba(one instanceof SVGElement ? look.fill : look.color);
    const strength = contrast(over(ink, ground), ground); count += 1;
    const name = one.className?.baseVal ?? one.className;
    if (strength < 4.5) found[`${name}: ${text.data.trim().slice(0, 24)}`] = strength.toFixed(2);
  }
  return [count, found];
}"""


# A picture as raw bytes of its colours: what Chromium writes as PNG is twice as long as it need be for flat areas.
COLOURS = """async (png) => {
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const { data } = canvas.getImageData(0, 0, image.width, image.height);
  let text = "";
  for (let at = 0; at < data.length; at += 32768) text += String.fromCharCode(...data.subarray(at, at + 32768));
  return [image.width, image.height, btoa(text)];
}"""


def picture(stage: Stage) -> bytes:
    """The workbench as a small PNG (RFC 2083): true colour, no filter."""
    shot = base64.b64encode(stage.root.screenshot(animations="disabled")).decode()
    wide, high, text = stage.page.evaluate(COLOURS, shot)
    colours = np.frombuffer(base64.b64decode(text), np.uint8).reshape(high, wide, 4)[..., :3]
    lines = np.concatenate([np.zeros((high, 1), np.uint8), colours.reshape(high, -1)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    data = zlib.compress(lines.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def posed(stage: Stage, monkeypatch: pytest.MonkeyPatch, wide: int, theme: str) -> None:
    """The workbench of the docs' pictures: a graft, a blend with curves, a repeat, a snapshot, scores."""
    stage.page.set_viewport_size({"width": wide + 24, "height": 1400})
    monkeypatch.chdir(sample.FAMILY)
    scorers = [skill(name) for name in ("stories", "arithmetic", "pirate")]
    prompts = [sample.SKILLS[name].prompts(1)[0] for name in ("pirate", "arithmetic", "stories")]
    stage.put(Workbench("base", "pirate", "arithmetic", recipe=POSED, scorers=scorers, prompts=prompts))
    stage.page.evaluate(f"document.body.dataset.jpThemeLight = '{str(theme == 'light').lower()}'")
    dark = "background:#15181d" if theme == "dark" else "background:#fff"
    stage.page.evaluate(f"document.body.style.cssText = '{dark}'")
    stage.exact()


@pytest.mark.parametrize("wide", [1600, 1180, 800, 560])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_off_or_unreadable(stage: Stage, monkeypatch: pytest.MonkeyPatch, wide: int, theme: str) -> None:
    posed(stage, monkeypatch, wide, theme)
    if wide > 620:
        stage.button("Keep a snapshot of this").click()
        stage.page.mouse.click(*stage.layer(4))
    expect(stage.root.locator(".ml-checks")).to_contain_text("This will load and run.")
    expect(stage.root.locator(".ml-scores")).to_contain_text("stories")
    bench = stage.widgets[0]
    assert bench.wait(60)
    expect(stage.root.locator(".ml-detail")).to_contain_text("computed")
    assert stage.page.evaluate("document.documentElement.scrollWidth") <= wide + 24
    background = stage.root.evaluate("root => getComputedStyle(root).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 29)"}[theme]
    folder = os.environ.get("MERGELAB_SCREENSHOT")
    if folder and wide in KEPT:
        stage.page.mouse.move(0, 0)
        stage.page.evaluate("document.activeElement.blur()")
        taken = picture(stage)
        assert len(taken) < 300_000
        name = f"workbench{'' if wide == KEPT[0] else f'_{wide}'}_{theme}.png"
        (ROOT / folder / name).write_bytes(taken)
    assert stage.root.evaluate(CUT, WHOLE) == []
    assert stage.root.evaluate(OUTSIDE) == []
    count, faint = stage.root.evaluate(FAINT)
    assert count > 100
    assert faint == {}
