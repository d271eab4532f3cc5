"""Draws synthetic faces: who it is apart from how the picture was taken.

A face is painted back to front with soft-edged shapes on a grid of points, all pictures of a
batch at once. The head is a half ellipsoid: a point of the picture is turned back by the pose to
the frontal face, where the features are, so turning moves and shortens them as on a real head.

Lengths are in half picture sides (the picture spans [-1, 1] across and down), angles in radians,
tones in [0, 1] from black to white.
"""

from __future__ import annotations

import torch
from torch import Tensor

Features = dict[str, Tensor]
"""Name to one value per person or picture, float32 ``[n]``."""

IDENTITY: dict[str, tuple[float, float]] = {
    "head_width": (0.50, 0.64),
    "head_height": (0.70, 0.84),
    "jaw": (0.00, 0.42),
    "chin": (1.8, 3.2),
    "skin": (0.36, 0.84),
    "ear": (0.05, 0.13),
    "hair_tone": (0.03, 0.62),
    "hairline": (0.28, 0.66),
    "hair_curve": (-0.15, 0.35),
    "hair_part": (-0.35, 0.35),
    "hair_sides": (0.25, 0.95),
    "hair_volume": (0.02, 0.17),
    "hair_length": (-0.35, 0.95),
    "eye_gap": (0.19, 0.29),
    "eye_height": (-0.12, 0.02),
    "eye_width": (0.095, 0.15),
    "eye_open": (0.040, 0.085),
    "eye_slant": (-0.18, 0.18),
    "iris": (0.05, 0.45),
    "socket": (0.00, 0.30),
    "brow_gap": (0.09, 0.18),
    "brow_thick": (0.015, 0.055),
    "brow_slant": (-0.30, 0.30),
    "brow_tone": (0.05, 0.50),
    "nose_length": (0.24, 0.40),
    "nose_width": (0.07, 0.15),
    "nose_bridge": (0.00, 0.22),
    "mouth_width": (0.15, 0.28),
    "mouth_height": (0.42, 0.52),
    "lip_upper": (0.018, 0.050),
    "lip_lower": (0.022, 0.065),
    "lip_tone": (0.35, 0.80),
    "folds": (0.00, 0.22),
    "beard": (0.0, 1.0),
    "beard_density": (0.35, 0.85),
    "glasses": (0.0, 1.0),
    "glasses_size": (0.15, 0.20),
    "glasses_shape": (2.0, 5.0),
    "glasses_tone": (0.0, 0.35),
}
"""What makes a person: every feature is uniform in its range."""

PICTURE: dict[str, float] = {
    "roll": 0.032,
    "yaw": 0.09,
    "pitch": 0.045,
    "shift_x": 0.016,
    "shift_y": 0.014,
    "zoom": 0.018,
    "light_x": 0.3,
    "light_y": 0.17,
    "brightness": 0.045,
    "contrast": 0.05,
    "background": 0.05,
    "backdrop": 0.04,
    "clothes": 0.1,
    "smile": 0.026,
    "mouth_open": 0.022,
    "brow_raise": 0.017,
    "eyelids": 0.17,
    "gaze": 0.3,
}
"""What makes a picture: standard deviation of each quantity around its neutral value."""

BEARDED, MOUSTACHED, GLASSED = 0.86, 0.74, 0.70
"""Above these: a full beard, a moustache at least, glasses."""

CROP = 0.9
"""Below 1 the picture is cut closer around the head."""

GREY = 0.45
"""The tone that contrast leaves alone."""

IRIS = 0.062
"""Radius of the iris, much the same in everybody."""

SUPERSAMPLE = 2
"""Points per pixel and axis."""

CHUNK = 16
"""Pictures drawn at a time: the temporaries of one chunk fit a CPU's cache."""


def identities(n: int, rng: torch.Generator) -> Features:
    """Draw ``n`` people."""
    u = torch.rand(n, len(IDENTITY), generator=rng)
    return {
        key: low + (high - low) * u[:, i] for i, (key, (low, high)) in enumerate(IDENTITY.items())
    }


def pictures(n: int, variation: float, rng: torch.Generator) -> Features:
    """Draw the circumstances of ``n`` pictures, cut at 2.2 standard deviations.

    Args:
        n: number of pictures.
        variation: factor on every standard deviation; 0 gives passport photographs.
        rng: source of randomness.
    """
    z = torch.empty(n, len(PICTURE)).normal_(generator=rng).clamp_(-2.2, 2.2) * variation
    return {key: sd * z[:, i] for i, (key, sd) in enumerate(PICTURE.items())}


def render(who: Features, how: Features, size: int) -> Tensor:
    """Draw pictures.

    Args:
        who: identity of each picture, ``[n]`` per feature.
        how: circumstances of each picture, ``[n]`` per quantity.
        size: pixels a side.

    Returns:
        float32 ``[n, 1, size, size]`` in [0, 1], without sensor noise.
    """
    n = len(who["skin"])
    out = torch.empty(n, 1, size, size)
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        sheet = _Sheet(
            {k: v[part, None, None] for k, v in who.items()},
            {k: v[part, None, None] for k, v in how.items()},
            size * SUPERSAMPLE,
        )
        out[part, 0] = torch.nn.functional.avg_pool2d(sheet.draw(), SUPERSAMPLE)
    return out.clamp_(0.0, 1.0)


class _Sheet:
    """Pictures ``[n, side, side]`` in the making."""

    def __init__(self, who: Features, how: Features, side: int) -> None:
        self.who, self.how = who, how
        self.pixel = 2.0 / side * SUPERSAMPLE
        line = (torch.arange(side) + 0.5) * (2.0 / side) - 1.0
        u, v = (
            CROP * line[None, None, :] - how["shift_x"],
            CROP * line[None, :, None] - 0.03 - how["shift_y"],
        )
        cos, sin, zoom = how["roll"].cos(), how["roll"].sin(), 1.0 + how["zoom"]
        self.x, self.y = (cos * u + sin * v) / zoom, (cos * v - sin * u) / zoom
        self.a, self.b = who["head_width"], who["head_height"]
        # Back to the frontal face: onto the ellipsoid, then against yaw and pitch.
        self.nx, self.ny = self.x / self.a, self.y / self.b
        self.nz = (1.0 - 0.9 * (self.nx.square() + self.ny.square())).clamp_min(0.02).sqrt()
        yaw, pitch = how["yaw"], how["pitch"]
        self.tx = self.a * (yaw.cos() * self.nx - yaw.sin() * self.nz)
        depth = yaw.sin() * self.nx + yaw.cos() * self.nz
        self.ty = self.b * (pitch.cos() * self.ny - pitch.sin() * depth)
        self.side = self.tx.abs()
        self.ink = torch.empty_like(self.tx)

    # ------------------------------------------------------------ brushes
    def soft(self, distance: Tensor) -> Tensor:
        """Coverage in [0, 1] of points at a signed distance (inside is negative)."""
        return (0.5 - distance / self.pixel).clamp_(0.0, 1.0)

    def oval(self, x: Tensor, y: Tensor, w: Tensor | float, h: Tensor | float) -> Tensor:
        """Coverage of an ellipse of half axes ``w``, ``h`` around the origin of (x, y)."""
        r = ((x / w).square() + (y / h).square()).sqrt()
        return self.soft((r - 1.0) * torch.minimum(torch.as_tensor(w), torch.as_tensor(h)))

    def blob(self, x: Tensor, y: Tensor, w: Tensor | float, h: Tensor | float) -> Tensor:
        """A soft spot."""
        return self.bump((x / w).square() + (y / h).square())

    @staticmethod
    def bump(q: Tensor) -> Tensor:
        """About ``exp(-q)`` with a finite reach; ``exp`` itself is slow where it underflows."""
        return (1.0 - 0.25 * q).clamp_min_(0.0).square_().square_()

    def paint(self, coverage: Tensor, tone: Tensor | float) -> None:
        """Lay a tone over what is there."""
        self.ink += coverage * (tone - self.ink)

    def shade(self, coverage: Tensor, strength: Tensor | float) -> None:
        """Darken by a factor (a negative strength brightens)."""
        self.ink *= 1.0 - strength * coverage

    # ------------------------------------------------------------ layers
    def draw(self) -> Tensor:
        """All layers, back to front."""
        how, who = self.how, self.who
        self.ink[:] = 0.60 + how["background"] + how["backdrop"] * self.x
        self._back_hair()
        self._body()
        head = self._head()
        self._skin(head)
        self._eyes()
        self._nose()
        self._mouth()
        self._beard(head)
        self._front_hair()
        self._light()
        self._glasses()
        contrast = (self.ink - GREY) * (1.0 + how["contrast"])
        return GREY + contrast + how["brightness"] * who["skin"]

    def _back_hair(self) -> None:
        who = self.who
        volume = who["hair_volume"]
        fall = self.soft(self.y - who["hair_length"])
        w = self.a + volume + 0.04
        r = (
            (self.x / w).abs().pow(2.5) + (self.y.clamp_max(0.0) / (self.b + volume)).abs().pow(2.5)
        ).pow(0.4)
        self.paint(self.soft((r - 1.0) * w) * fall, who["hair_tone"] * 0.8)

    def _body(self) -> None:
        who, how = self.who, self.how
        neck = self.soft(self.x.abs() - 0.55 * self.a) * self.soft(0.3 - self.y)
        self.paint(neck, who["skin"] * 0.72)
        shoulders = self.soft(0.80 + 0.30 * self.x.square() - self.y)
        self.paint(shoulders, (0.4 + how["clothes"]).clamp(0.05, 0.95))
        for s in (-1.0, 1.0):
            ear = self.oval(self.x - s * (self.a + 0.02), self.y - 0.02, who["ear"], 0.15)
            self.paint(ear, who["skin"] * 0.8)

    def _head(self) -> Tensor:
        who = self.who
        below = (self.ny.clamp(0.0, 1.0)).square()
        width = self.a * (1.0 - who["jaw"] * below)
        r = ((self.x / width).abs().pow(2.4) + (self.y / self.b).abs().pow(who["chin"])).pow(0.42)
        head = self.soft((r - 1.0) * self.a)
        self.paint(head, who["skin"])
        return head

    def _skin(self, head: Tensor) -> None:
        who = self.who
        for s in (-1.0, 1.0):
            dx = self.tx - s * who["eye_gap"]
            self.shade(
                self.blob(dx, self.ty - who["eye_height"], 0.16, 0.13) * head, who["socket"] + 0.08
            )
            # Fold from the wing of the nose to the corner of the mouth.
            bend = self.tx - s * (0.10 + 0.35 * (self.ty - 0.2))
            height = self.bump(((self.ty - 0.33) / 0.13).square())
            line = self.bump((bend / 0.025).square()) * height
            self.shade(line * head, who["folds"])
            cheek = self.blob(self.tx - s * 0.30, self.ty - 0.20, 0.13, 0.12)
            self.shade(cheek * head, -0.10 - 1.5 * self.how["smile"])

    def _eyes(self) -> None:
        who, how = self.who, self.how
        tall = who["eye_open"] * (1.0 + how["eyelids"]).clamp(0.25, 1.3)
        lift = how["brow_raise"]
        for s in (-1.0, 1.0):
            dx = self.tx - s * who["eye_gap"]
            dy = self.ty - who["eye_height"] + s * who["eye_slant"] * dx
            # An almond: two parabolas that meet in the corners.
            arch = tall * (1.0 - (dx / who["eye_width"]).square())
            white = self.soft(dy.abs() - arch)
            self.paint(white, 0.45 + 0.45 * who["skin"])
            gaze = dx - 0.04 * how["gaze"]
            self.paint(white * self.oval(gaze, dy, IRIS, IRIS), who["iris"])
            self.paint(white * self.oval(gaze, dy, 0.45 * IRIS, 0.45 * IRIS), 0.02)
            lid = self.soft((dy + arch).abs() - 0.016) * self.soft(dx.abs() - who["eye_width"])
            self.paint(lid * 0.8, 0.12)
            brow_y = dy + who["brow_gap"] + lift + s * who["brow_slant"] * dx + 1.6 * dx.square()
            brow = self.soft(brow_y.abs() - who["brow_thick"]) * self.soft(dx.abs() - 0.155)
            self.paint(brow * 0.9, torch.minimum(who["brow_tone"], 0.6 * who["skin"]))

    def _nose(self) -> None:
        who, how = self.who, self.how
        tip, w = who["eye_height"] + who["nose_length"], who["nose_width"]
        along = ((self.ty - who["eye_height"]) / who["nose_length"]).clamp(0.0, 1.0)
        on = self.soft(self.ty - tip) * self.soft(who["eye_height"] - 0.04 - self.ty)
        half = w * (0.35 + 0.65 * along.square())
        ridge = self.bump((self.tx / (0.6 * half)).square()) * on
        self.shade(ridge, -0.10 - 0.5 * who["nose_bridge"])
        # The flank away from the light lies in shadow.
        away = how["light_x"].sign() * -1.0
        flank = self.bump(((self.tx - away * half) / 0.035).square()) * on
        self.shade(flank, 0.10 + who["nose_bridge"] * (0.5 + how["light_x"].abs()).clamp_max(1.2))
        under = self.bump(((self.ty - tip - 0.015) / 0.028).square())
        self.shade(under * self.soft(self.side - w), 0.30)
        for s in (-1.0, 1.0):
            nostril = self.blob(self.tx - s * 0.55 * w, self.ty - tip, 0.38 * w, 0.026)
            self.shade(nostril, 0.65)

    def _mouth(self) -> None:
        who, how = self.who, self.how
        wide = who["mouth_width"] * (1.0 + 2.0 * how["smile"])
        across = (self.tx / wide).clamp(-1.3, 1.3)
        bend = (how["smile"] + 0.012) * (1.0 - 2.0 * across.square())
        dy = self.ty - who["mouth_height"] - bend
        taper = (1.0 - across.square()).clamp_min(0.0)
        gap = (how["mouth_open"] - 0.004).clamp_min(0.0) * taper
        tone = who["skin"] * who["lip_tone"]
        upper = self.soft(-dy - gap - who["lip_upper"] * taper.sqrt()) * self.soft(dy)
        lower = self.soft(dy - gap - who["lip_lower"] * taper.sqrt()) * self.soft(-dy)
        inside = self.soft(across.abs() * wide - wide)
        self.paint(upper * inside, tone * 0.85)
        self.paint(lower * inside, tone)
        self.paint(self.soft(dy.abs() - gap - 0.011 * taper.sqrt()) * inside, 0.10)
        teeth = self.soft((dy + 0.35 * gap).abs() - 0.5 * gap + 0.010) * inside
        self.paint(teeth * (how["smile"] > 0.02), 0.85)
        chin = self.blob(self.tx, self.ty - who["mouth_height"] - 0.12, 0.13, 0.035)
        self.shade(chin, 0.14)

    def _beard(self, head: Tensor) -> None:
        who = self.who
        density, tone = who["beard_density"], torch.minimum(who["hair_tone"], 0.55 * who["skin"])
        lip = who["mouth_height"] - who["lip_upper"]
        nose = who["eye_height"] + who["nose_length"]
        middle = 0.5 * (lip + nose) + 0.015
        moustache = self.soft((self.ty - middle - 0.9 * self.tx.square()).abs() - 0.036)
        moustache = moustache * self.soft(self.side - who["mouth_width"] * 1.05)
        self.paint(moustache * density * (who["beard"] > MOUSTACHED), tone)
        mouth = self.oval(self.tx, self.ty - who["mouth_height"], who["mouth_width"] * 1.05, 0.085)
        edge = 0.40 - 0.9 * (self.side / self.a - 0.2).clamp_min(0.0).square()
        full = self.soft((edge - self.ty) * 0.35) * (1.0 - mouth) * head
        self.paint(full * density * (who["beard"] > BEARDED), tone)

    def _front_hair(self) -> None:
        who = self.who
        volume = who["hair_volume"]
        w, h = self.a + 0.6 * volume, self.b + volume
        r = ((self.x / w).abs().pow(2.3) + (self.y / h).abs().pow(2.3)).pow(1 / 2.3)
        cap = self.soft((r - 1.0) * self.a)
        across = self.tx / self.a
        line = (
            -who["hairline"]
            + who["hair_part"] * self.tx
            + who["hair_curve"] * across.square()
            + who["hair_sides"] * across.square().square().clamp_max(1.4)
        )
        hair = cap * self.soft((self.ty - line) * 0.7) * self.soft((self.y - 0.25) * 0.5)
        strand = 1.0 + 0.06 * torch.sin(38.0 * self.tx + 9.0 * self.ty)
        self.paint(hair, who["hair_tone"] * strand)

    def _light(self) -> None:
        how = self.how
        lx, ly = how["light_x"], -0.35 + how["light_y"]
        norm = (lx.square() + ly.square() + 1.0).sqrt()
        lit = (lx * self.nx + ly * self.ny + self.nz) / norm
        inside = self.soft((self.nx.square() + self.ny.square() - 1.15) * 0.3)
        self.ink *= 1.0 + inside * (0.45 + 0.68 * lit.clamp_min(0.0) - 1.0)

    def _glasses(self) -> None:
        who = self.who
        worn = (who["glasses"] > GLASSED).float()
        r, p = who["glasses_size"], who["glasses_shape"]
        dy = self.ty - who["eye_height"]
        for s in (-1.0, 1.0):
            dx = self.tx - s * who["eye_gap"] * 1.02
            d = ((dx / r).abs().pow(p) + (dy / (0.82 * r)).abs().pow(p)).pow(1.0 / p) - 1.0
            self.paint(self.soft((d * r).abs() - 0.018) * worn, who["glasses_tone"])
        bridge = self.soft((dy + 0.03).abs() - 0.014) * self.soft(self.side - who["eye_gap"] + r)
        self.paint(bridge * worn, who["glasses_tone"])
