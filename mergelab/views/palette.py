"""Colours of the sources where no style sheet is: the resolved values of widgets/src/tokens.css."""

from __future__ import annotations

# (line, fill, text) of each source.
LIGHT = (
    ("#6c747e", "#d9dfe6", "#4b5562"),
    ("#005239", "#a5dcc9", "#005239"),
    ("#bc8317", "#fbdd9f", "#7d5300"),
    ("#7b1a9d", "#e9d0f3", "#741893"),
    ("#3690ec", "#c3e0fb", "#12589f"),
)
DARK = (
    ("#a9b4cd", "#3d4653", "#c3ccdc"),
    ("#a2fbd8", "#0d4c40", "#a2f3d4"),
    ("#f0a344", "#5a3d0c", "#f6c168"),
    ("#c54f8d", "#5b2744", "#f0a9cc"),
    ("#3b84ea", "#1c3f76", "#a3c8fb"),
)
