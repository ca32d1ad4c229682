"""Images without a display; skipped where no GL library is installed."""

import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from embodied import render
from embodied.errors import UserError

SCENE = """
<mujoco>
  <visual><global offwidth="64" offheight="48"/></visual>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="scene" pos="0 0 2"/>
    <body name="ball"><freejoint/><geom size=".2" rgba="1 0 0 1"/></body>
    <body name="target" mocap="true" pos="5 5 0"><geom size=".2" rgba="0 0 1 1"/></body>
  </worldbody>
</mujoco>
"""
MODEL = mujoco.MjModel.from_xml_string(SCENE)
needs_gl = pytest.mark.skipif(render.available() is None, reason="no OpenGL library is installed")


@pytest.fixture
def renderer():
    renderer = render.Renderer(MODEL, 64, 48)
    yield renderer
    renderer.close()


def centre(image, channel):
    """Return the mean row and column of the pixels in which a channel dominates."""
    others = np.delete(image.astype(int), channel, axis=2).max(axis=2)
    return np.argwhere(image[:, :, channel] > others + 60).mean(axis=0)


@needs_gl
def test_things_appear_where_they_are(renderer):
    image = renderer.render(MODEL.qpos0, np.array([0.5, 0.3, 0.0]))
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(centre(image, 0), (23.5, 31.5), atol=1)
    row, column = centre(image, 2)
    assert row < 20  # y points up in the image
    assert column > 36


@needs_gl
def test_an_image_follows_from_the_configuration_alone(renderer):
    away = MODEL.qpos0.copy()
    away[0] = 0.3
    first = renderer.render(MODEL.qpos0, MODEL.body("target").pos)
    moved = renderer.render(away)
    np.testing.assert_array_equal(renderer.render(MODEL.qpos0), first)
    assert not np.array_equal(first, moved)


@needs_gl
def test_renderers_of_several_sizes_live_side_by_side(renderer):
    other = render.Renderer(MODEL, 32, 32)
    first = renderer.render(MODEL.qpos0)
    assert other.render(MODEL.qpos0).shape == (32, 32, 3)
    np.testing.assert_array_equal(renderer.render(MODEL.qpos0), first)
    other.close()
    other.close()
    np.testing.assert_array_equal(renderer.render(MODEL.qpos0), first)


@needs_gl
def test_mistakes_are_told(renderer):
    with pytest.raises(UserError, match="offwidth"):
        render.Renderer(MODEL, 65, 48)
    with pytest.raises(UserError, match="no camera 'top'"):
        renderer.render(MODEL.qpos0, camera="top")


PROBE = """
from embodied import render
try:
    import mujoco  # which fails already where the library that MUJOCO_GL names is missing
    render.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8)
    print(render.available())
except Exception as error:
    print(type(error).__name__, error)
"""


def probe(**variables):
    # Both are set in this process as soon as it has rendered.
    chosen = ("MUJOCO_GL", "PYOPENGL_PLATFORM")
    environment = {key: value for key, value in os.environ.items() if key not in chosen}
    result = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


def test_without_any_library_one_line_says_what_to_install():
    # An empty vendor folder makes libEGL find no implementation.
    line = probe(MUJOCO_GL="egl", __EGL_VENDOR_LIBRARY_DIRS="/nonexistent")
    assert line.startswith("UserError no headless OpenGL works here")
    assert "libosmesa6" in line
    assert "\n" not in line


@pytest.mark.skipif(probe(MUJOCO_GL="osmesa") != "osmesa", reason="no OSMesa is installed")
def test_osmesa_steps_in_for_egl():
    assert probe(__EGL_VENDOR_LIBRARY_DIRS="/nonexistent") == "osmesa"
