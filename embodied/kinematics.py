"""Batched forward kinematics on arrays, from a compiled MuJoCo model.

A simulator that steps physics in native threads needs the pose of a few bodies for many
environments; calling ``mj_kinematics`` per environment would put Python back into the loop. A
``Chain`` walks only the joints between the world and one body or site, for all rows at once. The
arithmetic is that of MuJoCo's ``mj_kinematics``; hinge, slide, ball and free joints are supported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embodied.errors import UserError

Float = npt.NDArray[np.float64]

_FREE, _BALL, _SLIDE, _HINGE = range(4)  # the values of mujoco.mjtJoint


def rotation_from_quaternion(quaternion: npt.ArrayLike) -> Float:
    """Return rotation matrices [..., 3, 3] of quaternions [..., 4] in w, x, y, z order.

    Quaternions are normalised first, as MuJoCo does.
    """
    q = np.asarray(quaternion, dtype=np.float64)
    w, x, y, z = np.moveaxis(q / np.sqrt(np.sum(q * q, axis=-1, keepdims=True)), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _skew(vector: Float) -> Float:
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _apply(rotation: Float, vector: Float) -> Float:
    """Rotate row by row, [N, 3, 3] or [3, 3] with [N, 3] or [3], in a fixed order of summation.

    Not a matrix product: BLAS may sum in another order for another N, and environments must not
    depend on how many of them there are.
    """
    return np.asarray(
        rotation[..., 0] * vector[..., :1]
        + rotation[..., 1] * vector[..., 1:2]
        + rotation[..., 2] * vector[..., 2:]
    )


def _compose(first: Float, second: Float) -> Float:
    """Return ``first @ second`` of [..., 3, 3], summed in a fixed order."""
    return np.asarray(
        first[..., :, :1] * second[..., :1, :]
        + first[..., :, 1:2] * second[..., 1:2, :]
        + first[..., :, 2:] * second[..., 2:, :]
    )


@dataclass(frozen=True)
class _Link:
    """A constant pose followed by one joint: ``x -> offset + basis @ joint(x)``."""

    kind: int
    qpos: int  # address of the joint's first coordinate
    dof: int  # address of its first velocity
    reference: float
    offset: Float  # [3]
    basis: Float  # [3, 3]
    anchor: Float  # [3] in the body's frame
    axis: Float  # [3] in the body's frame
    sine: Float  # [3, 3]: basis @ skew(axis)
    versine: Float  # [3, 3]: basis @ skew(axis) @ skew(axis)

    def rotation(self, qpos: Float) -> Float:
        """Return ``basis`` times the joint's rotation, [N, 3, 3] or [3, 3] when it has none."""
        if self.kind == _SLIDE:
            return self.basis
        if self.kind == _HINGE:
            angle = (qpos[:, self.qpos] - self.reference)[:, None, None]
            turned = np.sin(angle) * self.sine + (1.0 - np.cos(angle)) * self.versine
            return np.asarray(self.basis + turned)
        start = self.qpos + (3 if self.kind == _FREE else 0)
        own = rotation_from_quaternion(qpos[:, start : start + 4])
        return own if self.kind == _FREE else _compose(self.basis, own)

    def translation(self, qpos: Float, rotation: Float) -> Float:
        """Return where the frame after the joint has its origin, [N, 3] or [3]."""
        if self.kind == _FREE:
            return qpos[:, self.qpos : self.qpos + 3]
        moved = self.offset
        if self.kind == _SLIDE:
            along = self.basis @ self.axis
            return moved + (qpos[:, self.qpos, None] - self.reference) * along
        if not self.anchor.any():
            return moved
        return moved + self.basis @ self.anchor - _apply(rotation, self.anchor)


class Chain:
    """The joints from the world to one body or site of a compiled model.

    Args:
        model: ``mujoco.MjModel``.
        body: Name of the body whose pose is wanted, or
        site: name of the site.

    Attributes:
        joints: Names of the joints of the chain, from the world outwards.

    Raises:
        UserError: There is no such body or site, or a mocap body is on the chain.
    """

    def __init__(self, model: Any, *, body: str | None = None, site: str | None = None) -> None:
        if (body is None) == (site is None):
            raise ValueError("name a body or a site")
        try:
            item = model.body(body) if body is not None else model.site(site)
        except KeyError:
            raise UserError(
                f"the model has no {'body' if body is not None else 'site'} "
                f"{body if body is not None else site!r}; check the MJCF file"
            ) from None
        last = item.id if body is not None else int(model.site_bodyid[item.id])
        path = [last]
        while path[-1] != 0:
            path.append(int(model.body_parentid[path[-1]]))
        self._links: list[_Link] = []
        offset, basis = np.zeros(3), np.eye(3)
        for index in reversed(path[:-1]):
            if model.body_mocapid[index] >= 0:
                raise UserError(
                    f"body {model.body(index).name!r} is a mocap body: its pose is not in qpos"
                )
            offset = offset + basis @ model.body_pos[index]
            basis = basis @ rotation_from_quaternion(model.body_quat[index])
            start = int(model.body_jntadr[index])
            for joint in range(start, start + int(model.body_jntnum[index])):
                self._links.append(_link(model, joint, offset, basis))
                offset, basis = np.zeros(3), np.eye(3)
        if site is not None:
            offset = offset + basis @ model.site_pos[item.id]
            basis = basis @ rotation_from_quaternion(model.site_quat[item.id])
        self._end, self._end_basis = offset, basis
        start_joint = [link.qpos for link in self._links]
        names = {int(model.jnt_qposadr[j]): model.joint(j).name for j in range(model.njnt)}
        self.joints = tuple(names[address] for address in start_joint)

    def position(self, qpos: Float) -> Float:
        """Return world positions [N, 3] in metres for configurations ``qpos`` [N, nq]."""
        point = self._end
        for link in reversed(self._links):
            rotation = link.rotation(qpos)
            point = link.translation(qpos, rotation) + _apply(rotation, point)
        return np.array(np.broadcast_to(point, (len(qpos), 3)))

    def pose(self, qpos: Float) -> tuple[Float, Float]:
        """Return world positions [N, 3] and rotation matrices [N, 3, 3] for ``qpos`` [N, nq]."""
        point, basis = self._end, self._end_basis
        for link in reversed(self._links):
            rotation = link.rotation(qpos)
            point = link.translation(qpos, rotation) + _apply(rotation, point)
            basis = _compose(rotation, basis)
        rows = len(qpos)
        return (
            np.array(np.broadcast_to(point, (rows, 3))),
            np.array(np.broadcast_to(basis, (rows, 3, 3))),
        )

    def velocity(self, qpos: Float, qvel: Float) -> Float:
        """Return world velocities [N, 3] in m/s for ``qpos`` [N, nq] and ``qvel`` [N, nv]."""
        point = np.broadcast_to(self._end, (len(qpos), 3))
        speed = np.zeros((len(qpos), 3))
        for link in reversed(self._links):
            rotation = link.rotation(qpos)
            if link.kind == _SLIDE:
                own = qvel[:, link.dof, None] * (link.basis @ link.axis)
            elif link.kind == _HINGE:
                turn = qvel[:, link.dof, None] * link.axis
                own = _apply(rotation, np.cross(turn, point - link.anchor))
            else:
                start = link.dof + (3 if link.kind == _FREE else 0)
                own = _apply(rotation, np.cross(qvel[:, start : start + 3], point - link.anchor))
                if link.kind == _FREE:
                    own = own + qvel[:, link.dof : link.dof + 3]
            speed = own + _apply(rotation, speed)
            point = link.translation(qpos, rotation) + _apply(rotation, point)
        return speed


def _link(model: Any, joint: int, offset: Float, basis: Float) -> _Link:
    kind, address = int(model.jnt_type[joint]), int(model.jnt_qposadr[joint])
    axis = np.array(model.jnt_axis[joint])
    return _Link(
        kind=kind,
        qpos=address,
        dof=int(model.jnt_dofadr[joint]),
        reference=float(model.qpos0[address]),
        offset=offset,
        basis=basis,
        anchor=np.zeros(3) if kind == _FREE else np.array(model.jnt_pos[joint]),
        axis=axis,
        sine=basis @ _skew(axis),
        versine=basis @ _skew(axis) @ _skew(axis),
    )
