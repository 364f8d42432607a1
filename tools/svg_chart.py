"""Line charts as SVG text: panels over one x axis, a legend beside them. Readable on light and dark pages: the colours
follow the reader's setting, and the background is the picture's own. Lines differ in colour (Okabe and Ito's, which
colour-blind readers tell apart) and in the shape of their points."""
import dataclasses
import math
from xml.sax.saxutils import escape

FONT = 12
TITLE_FONT = 16
CHARACTER = 0.6  # of the font's size: a generous width of one character of a sans-serif font

# (light, dark) for each style; then page, text, and grid.
STYLES = [("#0072b2", "#56b4e9"), ("#d55e00", "#ff8c42"), ("#009e73", "#2fd6a5"), ("#a64d86", "#e69ac4"),
          ("#b07a00", "#f0c145"), ("#555555", "#c8c8c8")]
PAGE, TEXT, GRID = ("#ffffff", "#0d1117"), ("#1f2328", "#e6edf3"), ("#d8dee4", "#30363d")

PLOT_WIDTH, PANEL_HEIGHT = 480, 270
LEFT, GAP, TOP = 78, 46, 20


@dataclasses.dataclass
class Line:
    name: str  # in the legend; lines of one name share an entry
    style: int
    points: list  # [(x, y, what a reader who points at it is told)]
    dashed: bool = False  # a limit: no points, no entry


@dataclasses.dataclass
class Panel:
    title: str  # what y is, and its unit
    lines: list
    y_range: tuple = None  # None: from 0 to a round number above all
    y_format: str = "{:,.0f}"


@dataclasses.dataclass
class Chart:
    title: str
    notes: list  # lines under the title: what was held fixed
    x_title: str
    panels: list
    x_format: object = str
    log_x: bool = False
    dashed_name: str = ""  # what the dashed lines are


def text_width(text, size=FONT):
    return len(text) * size * CHARACTER


def wrap(text, width, size=FONT):
    """Lines of at most `width`, broken at blanks."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def round_ticks(low, high, most=6):
    """Multiples of 1, 2, 2.5 or 5 times a power of ten that cover [low, high], at most `most` steps of them."""
    span = high - low or abs(high) or 1
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if span / (power * factor) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


class Writer:
    """Elements of one picture. Colours are attributes for light pages, and classes for dark ones."""

    def __init__(self):
        self.parts = []

    def text(self, x, y, text, anchor="start", size=FONT, bold=False):
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(f'<text class="t" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{weight} '
                          f'fill="{TEXT[0]}">{escape(text)}</text>')

    def rule(self, x1, y1, x2, y2, kind="g"):
        color = GRID[0] if kind == "g" else TEXT[0]
        self.parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>')

    def path(self, points, style, dashed):
        data = "M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = ' stroke-dasharray="5 4" stroke-width="1.5"' if dashed else ' stroke-width="2"'
        color, kind = (TEXT[0], "x") if style is None else (STYLES[style % len(STYLES)][0], f"l{style % len(STYLES)}")
        self.parts.append(f'<path class="{kind}" d="{data}" fill="none" stroke="{color}"{dashes}/>')

    def marker(self, x, y, style, said=""):
        style %= len(STYLES)
        shapes = [
            [(math.cos(a * math.pi / 8) * 4.5, math.sin(a * math.pi / 8) * 4.5) for a in range(16)],  # a disc
            [(-4, -4), (4, -4), (4, 4), (-4, 4)],
            [(0, -5.5), (5, 4), (-5, 4)],
            [(0, -6), (6, 0), (0, 6), (-6, 0)],
            [(0, 5.5), (5, -4), (-5, -4)],
            [(-2, -5), (2, -5), (2, -2), (5, -2), (5, 2), (2, 2), (2, 5), (-2, 5), (-2, 2), (-5, 2), (-5, -2), (-2, -2)],
        ]
        corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[style])
        title = f"<title>{escape(said)}</title>" if said else ""
        self.parts.append(f'<polygon class="m{style}" points="{corners}" fill="{STYLES[style][0]}" stroke="{PAGE[0]}">{title}</polygon>')


def dark_rules():
    rules = [f".p{{fill:{PAGE[1]}}}", f".t{{fill:{TEXT[1]}}}", f".g{{stroke:{GRID[1]}}}", f".x{{stroke:{TEXT[1]}}}"]
    for i, (_, dark) in enumerate(STYLES):
        rules += [f".l{i}{{stroke:{dark}}}", f".m{i}{{fill:{dark};stroke:{PAGE[1]}}}"]
    return "@media (prefers-color-scheme: dark){" + "".join(rules) + "}"


class Axis:
    """Where values of x lie."""

    def __init__(self, values, log):
        self.values = sorted(set(values))
        self.scale = math.log2 if log else float
        low, high = self.scale(self.values[0]), self.scale(self.values[-1])
        margin = (high - low) * 0.04 or 1
        self.low, self.span = low - margin, high - low + 2 * margin

    def at(self, value):
        return LEFT + (self.scale(value) - self.low) / self.span * PLOT_WIDTH


def draw_panel(out, panel, chart, axis, top, x_labels):
    bottom = top + PANEL_HEIGHT
    if panel.y_range:
        ticks = round_ticks(*panel.y_range)
    else:
        ticks = round_ticks(0, max(y for line in panel.lines for _, y, _ in line.points))
    low, high = ticks[0], ticks[-1]
    y_at = lambda y: bottom - (y - low) / (high - low) * PANEL_HEIGHT
    out.text(LEFT - 66, top - 12, panel.title, bold=True)
    for tick in ticks:
        out.rule(LEFT, y_at(tick), LEFT + PLOT_WIDTH, y_at(tick))
        out.text(LEFT - 8, y_at(tick) + 4, panel.y_format.format(tick), "end")
    out.rule(LEFT, bottom, LEFT + PLOT_WIDTH, bottom, "x")
    label_end = -math.inf
    for value in axis.values:
        x, label = axis.at(value), chart.x_format(value)
        out.rule(x, bottom, x, bottom + 4, "x")
        half = text_width(label) / 2
        if x_labels and x - half > label_end + 4:
            out.text(x, bottom + 18, label, "middle")
            label_end = x + half
    if x_labels:
        out.text(LEFT + PLOT_WIDTH / 2, bottom + 38, chart.x_title, "middle", bold=True)
    for line in sorted(panel.lines, key=lambda line: not line.dashed):  # limits below what was measured
        points = sorted(line.points)
        places = [(axis.at(x), y_at(y)) for x, y, _ in points]
        if len(places) > 1:
            out.path(places, line.style, line.dashed)
        if not line.dashed:
            for (x, y), (_, _, said) in zip(places, points):
                out.marker(x, y, line.style, f"{line.name}: {said}")


def draw_legend(out, chart, x, top):
    """The right edge of what it drew."""
    entries = list(dict.fromkeys((line.name, line.style) for panel in chart.panels for line in panel.lines if not line.dashed))
    right = x
    for i, (name, style) in enumerate(entries):
        y = top + 8 + i * 22
        out.path([(x, y), (x + 28, y)], style, False)
        out.marker(x + 14, y, style)
        out.text(x + 36, y + 4, name)
        right = max(right, x + 36 + text_width(name))
    if chart.dashed_name:
        y = top + 8 + len(entries) * 22
        out.path([(x, y), (x + 28, y)], None, True)
        out.text(x + 36, y + 4, chart.dashed_name)
        right = max(right, x + 36 + text_width(chart.dashed_name))
    return right


def draw(chart):
    """The text of an SVG file."""
    out = Writer()
    y = TOP + TITLE_FONT
    out.text(LEFT - 66, y, chart.title, size=TITLE_FONT, bold=True)
    for note in chart.notes:
        for line in wrap(note, PLOT_WIDTH + LEFT):
            y += 18
            out.text(LEFT - 66, y, line)
    top = y + 40
    axis = Axis([x for panel in chart.panels for line in panel.lines for x, _, _ in line.points], chart.log_x)
    right = max(draw_legend(out, chart, LEFT + PLOT_WIDTH + 24, top), LEFT - 66 + text_width(chart.title, TITLE_FONT))
    for i, panel in enumerate(chart.panels):
        draw_panel(out, panel, chart, axis, top + i * (PANEL_HEIGHT + GAP), i == len(chart.panels) - 1)
    width = math.ceil(right + 16)
    height = math.ceil(top + len(chart.panels) * (PANEL_HEIGHT + GAP) - GAP + 54)
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
            f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">')
    return "\n".join([head, f"<title>{escape(chart.title)}</title>", f"<desc>{escape('; '.join(chart.notes))}</desc>",
                      f"<style>{dark_rules()}</style>",
                      f'<rect class="p" width="{width}" height="{height}" fill="{PAGE[0]}"/>', *out.parts, "</svg>", ""])
