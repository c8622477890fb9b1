"""Images in grids, as PNG.

Answers    how many small pictures are put into one, without smoothing, in one range of values
"""

import base64
import io

import numpy as np


def grid(images: np.ndarray, columns: int, *, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Images (n, h, w[, channels]) as one array (H, W, 4) of bytes.

    Grey images become ink on nothing, (0, 0, 0, value), so that a page can turn them over in the dark; colours stay.
    """
    images = np.asarray(images, np.float32)
    low, high = limits if limits is not None else (float(images.min()), float(images.max()))
    scaled = np.clip((images - low) / max(high - low, 1e-12), 0, 1)
    if scaled.ndim == 3 or scaled.shape[-1] == 1:
        ink = scaled.reshape(scaled.shape[:3])
        tiles = np.stack([np.zeros_like(ink)] * 3 + [ink], axis=-1)
    else:
        tiles = np.concatenate([scaled, np.ones_like(scaled[..., :1])], axis=-1)
    n, h, w, _ = tiles.shape
    rows = -(-n // columns)
    factor = max(1, 32 // max(h, w))
    tiles = tiles.repeat(factor, 1).repeat(factor, 2)
    gap = max(2, factor)
    out = np.zeros((rows * (h * factor + gap) - gap, columns * (w * factor + gap) - gap, 4), np.float32)
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (h * factor + gap), (i % columns) * (w * factor + gap)
        out[top : top + h * factor, left : left + w * factor] = tile
    return (255 * out + 0.5).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG of (H, W, 3 or 4) bytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, format="png", optimize=True)
    return stream.getvalue()


def data_uri(pixels: np.ndarray) -> str:
    """A PNG inside an address, so that the page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def sample_png(images: np.ndarray, columns: int = 10, limits: tuple[float, float] | None = None) -> bytes:
    """A grid of images as a PNG of its own: ink on white. `limits` are the values of no ink and of full ink."""
    pixels = grid(images, min(columns, len(images)), limits=limits).astype(np.float32)
    cover = pixels[..., 3:] / 255
    return png((pixels[..., :3] * cover + 255 * (1 - cover) + 0.5).astype(np.uint8))
