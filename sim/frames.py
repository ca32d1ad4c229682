"""Draws a task's named states as images: what rewards that look are shown.

An arm's scene is seen by two cameras, one above the other in one image: from above and from the
front. One alone could not tell how far away a point is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mujoco
import numpy as np
import numpy.typing as npt

from embodied.render import Renderer
from embodied.types import Array, RobotTask, Task
from sim.cartpole.drawing import Style, draw, draw_style
from sim.cartpole.task import CartPoleTask
from sim.looks import Look, draw_arm_look

Images = npt.NDArray[np.uint8]
Draw = Callable[[Mapping[str, Array]], Images]
# Name -> position in m, and the directions of the image's right and upper sides. They show 0.44 m
# of the table's width around the tip's range.
CAMERAS = {
    "above": ((0.17, 0.0, 0.75), (0, -1, 0, 1, 0, 0)),
    "front": ((0.85, 0.0, 0.075), (0, 1, 0, 0, 0, 1)),
}
FIELD_OF_VIEW = 17.0  # degrees, of an image's height


def make(task: Task, size: tuple[int, int], look: int) -> Draw | None:
    """Return what draws states of a task, None where nothing can; see ``embodied.frames``."""
    rng = np.random.default_rng(look)
    if isinstance(task, CartPoleTask):
        return CartPoleFrames(task, size, draw_style(rng, "held_out") if look else Style())
    if isinstance(task, RobotTask) and ArmFrames.can_draw(task):
        frames = ArmFrames(task, size)
        if look:
            frames.wear(draw_arm_look(rng, "held_out"))
        return frames
    return None


class CartPoleFrames:
    """Draws CartPole's states in one style."""

    def __init__(self, task: CartPoleTask, size: tuple[int, int], style: Style) -> None:
        self._names, self._size, self.style = tuple(task.fields), size, style

    def __call__(self, state: Mapping[str, Array]) -> Images:
        """Return uint8 [N, H, W, 3]."""
        values = np.stack([np.asarray(state[name], np.float64) for name in self._names], axis=1)
        return draw(values, self._size, self.style)


class ArmFrames:
    """Draws states of a task of an arm on a table, in the look that it wears.

    What the fields do not tell is drawn as it is in the scene's file: a cube is never turned.

    Args:
        task: A task that ``can_draw`` says can be drawn.
        size: Width and height in pixels; each camera fills half of the height.
    """

    def __init__(self, task: RobotTask, size: tuple[int, int]) -> None:
        width, height = size
        spec = mujoco.MjSpec.from_file(str(task.scene))
        for name, (position, axes) in CAMERAS.items():
            camera = spec.worldbody.add_camera(name=name, pos=position, fovy=FIELD_OF_VIEW)
            camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
            camera.alt.xyaxes = axes
        self._model = spec.compile()
        self._objects = task.objects
        self._joints = [self._model.joint(name).qposadr[0] for name in task.joints]
        self._bodies = {name: self._free_joint(name) for name in task.objects}
        self._renderer = Renderer(self._model, width, height // 2)
        names = ("mat_rgba", "geom_rgba", "cam_pos", "light_diffuse")
        self._own = {name: getattr(self._model, name).copy() for name in names}

    @staticmethod
    def can_draw(task: RobotTask) -> bool:
        """Whether the fields tell where everything of the scene is."""
        needed = {"joint_position", "target_position", *(f"{o}_position" for o in task.objects)}
        return needed <= set(task.fields)

    def _free_joint(self, body: str) -> int:
        return int(self._model.jnt_qposadr[self._model.body(body).jntadr[0]])

    def wear(self, look: Look) -> None:
        """Change colours, cameras and light."""
        model = self._model
        for name, values in self._own.items():
            getattr(model, name)[:] = values
        for part, colour in look.colours.items():
            if part in self._materials():
                model.mat_rgba[model.material(part).id, :3] = colour
            elif part in self._named_bodies():
                first, count = model.body(part).geomadr[0], model.body(part).geomnum[0]
                model.geom_rgba[first : first + count, :3] = colour
        for name in CAMERAS:
            model.cam_pos[model.camera(name).id] += look.moved
        model.light_diffuse *= look.light

    def _materials(self) -> set[str]:
        return {self._model.material(i).name for i in range(self._model.nmat)}

    def _named_bodies(self) -> set[str]:
        return {self._model.body(i).name for i in range(self._model.nbody)}

    def __call__(self, state: Mapping[str, Array]) -> Images:
        """Return uint8 [N, H, W, 3]."""
        joints = np.asarray(state["joint_position"], np.float64)
        qpos = np.tile(self._model.qpos0, (len(joints), 1))
        qpos[:, self._joints] = joints
        for name, place in self._bodies.items():
            qpos[:, place : place + 3] = state[f"{name}_position"]
        goal = np.asarray(state["target_position"], np.float64)
        width, height = self._renderer.size
        images = np.empty((len(joints), 2 * height, width, 3), np.uint8)
        for row in range(len(joints)):
            for half, camera in enumerate(CAMERAS):
                part = images[row, half * height : (half + 1) * height]
                part[:] = self._renderer.render(qpos[row], goal[row], camera)
        return images

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()
