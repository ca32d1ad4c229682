"""Headless images of MuJoCo scenes, fast enough to learn from.

Shadows, reflections and multisampling are off: with a software renderer they cost more than a
factor of ten and tell a policy nothing. The environment variable ``MUJOCO_GL`` chooses the GL
library; where it is unset EGL is tried and then OSMesa, whatever MuJoCo itself would have chosen.
"""

from __future__ import annotations

import os
import sys
import weakref
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError

Float = npt.NDArray[np.floating[Any]]

_HEADLESS = ("egl", "osmesa")


def _make_context(width: int, height: int) -> Any:
    """Return a GL context that is current.

    Raises:
        UserError: No backend works.
    """
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if chosen or not sys.platform.startswith("linux"):
        backends = [chosen if chosen in _HEADLESS else "gl_context"]
    else:
        backends = list(_HEADLESS)
    reasons = []
    for backend in backends:
        if backend in _HEADLESS:
            os.environ["MUJOCO_GL"] = backend  # MuJoCo's loader of GL functions reads it too
        try:
            context = import_module(f"mujoco.{backend}").GLContext(width, height)
            context.make_current()
            return context
        # What a missing library raises depends on the backend and on the library.
        except Exception as error:
            reasons.append(f"{backend}: {error}")
            _forget_opengl()
    if not chosen:
        os.environ.pop("MUJOCO_GL", None)
    raise _no_opengl("; ".join(reasons))


def _no_opengl(reason: str) -> UserError:
    return UserError(
        "no headless OpenGL works here: on Debian or Ubuntu run 'apt-get install libegl1 libgl1 "
        f"libosmesa6', then unset MUJOCO_GL or set it to egl or osmesa ({reason})"
    )


def _forget_opengl() -> None:
    # PyOpenGL binds itself to one platform when it is imported; the next backend needs another.
    os.environ.pop("PYOPENGL_PLATFORM", None)
    for name in [name for name in sys.modules if name.split(".")[0] == "OpenGL"]:
        del sys.modules[name]


def available() -> str | None:
    """Return the name of the GL backend that renders here, ``"egl"`` for example, or None."""
    import mujoco

    try:
        renderer = Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 16, 16)
    except UserError:
        return None
    name = type(renderer._gl).__module__.removeprefix("mujoco.")
    renderer.close()
    return name


class Renderer:
    """Renders one scene at one size.

    Args:
        model: ``mujoco.MjModel``.
        width: Pixels.
        height: Pixels.

    Raises:
        UserError: No GL library works here, or the size exceeds the scene's offscreen buffer.
    """

    def __init__(self, model: Any, width: int, height: int) -> None:
        import mujoco

        limit = (model.vis.global_.offwidth, model.vis.global_.offheight)
        if not (0 < width <= limit[0] and 0 < height <= limit[1]):
            raise UserError(
                f"cannot render {width}x{height} pixels: the scene allows 1x1 to "
                f"{limit[0]}x{limit[1]} (offwidth and offheight of its <visual><global>)"
            )
        self.size = (width, height)
        self._mujoco, self._model, self._data = mujoco, model, mujoco.MjData(model)
        self._gl = _make_context(width, height)
        samples = model.vis.quality.offsamples
        model.vis.quality.offsamples = 0  # read by MjrContext alone
        try:
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        except mujoco.FatalError as error:
            raise _no_opengl(str(error)) from None
        finally:
            model.vis.quality.offsamples = samples
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        self._option = mujoco.MjvOption()
        self._rect = mujoco.MjrRect(0, 0, width, height)
        # Also at exit: MuJoCo's own finalizers run after PyOpenGL is gone.
        self._free = weakref.finalize(self, _free, self._gl, self._context)

    def render(
        self, qpos: Float, mocap_pos: Float | None = None, camera: str = "scene"
    ) -> npt.NDArray[np.uint8]:
        """Return the camera's image uint8 [H, W, 3] of a configuration.

        Args:
            qpos: [nq].
            mocap_pos: Positions [nmocap, 3] or [3] of the mocap bodies, in m; by default those of
                the scene.
            camera: Name of a camera of the scene.

        Raises:
            UserError: The scene has no such camera.
        """
        mujoco, data = self._mujoco, self._data
        data.qpos[:] = qpos
        if mocap_pos is not None:
            data.mocap_pos[:] = mocap_pos
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_comPos(self._model, data)
        mujoco.mj_camlight(self._model, data)
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            None,
            self._camera(camera),
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        self._gl.make_current()
        mujoco.mjr_render(self._rect, self._scene, self._context)
        image = np.empty((self.size[1], self.size[0], 3), dtype=np.uint8)
        mujoco.mjr_readPixels(image, None, self._rect, self._context)
        return np.ascontiguousarray(image[::-1])

    def _camera(self, name: str) -> Any:
        try:
            index = self._model.camera(name).id
        except KeyError:
            raise UserError(f"the scene has no camera {name!r}; check the MJCF file") from None
        camera = self._mujoco.MjvCamera()
        camera.type, camera.fixedcamid = self._mujoco.mjtCamera.mjCAMERA_FIXED, index
        return camera

    def close(self) -> None:
        """Free the GL context; safe to call twice."""
        self._free()


def _free(gl: Any, context: Any) -> None:
    gl.make_current()
    context.free()
    gl.free()
