"""Stand-ins for the models that ManiSkill downloads: boxes with the joints that its tasks name.

They go through ManiSkill's own loading code; nothing of the real models is in them.
"""

from __future__ import annotations

import json
from pathlib import Path

LINK = """
<link name="{name}">
  <inertial><mass value="1"/>
    <inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
  <visual name="handle"><origin xyz="{at}"/><geometry><box size="{size}"/></geometry></visual>
  <collision><origin xyz="{at}"/><geometry><box size="{size}"/></geometry></collision>
</link>"""
JOINT = """
<joint name="to_{name}" type="{type}">
  <parent link="base"/><child link="{name}"/>
  <origin xyz="{at}"/><axis xyz="{axis}"/>
  <limit lower="{low}" upper="{high}" effort="100" velocity="10"/>
</joint>"""
SWITCH = {"type": "revolute", "at": "0 0 0.2", "axis": "0 0 1", "low": -0.2, "high": 1.3}
DRAWER = {"type": "prismatic", "at": "-0.2 0 0.1", "axis": "-1 0 0", "low": 0.0, "high": 0.5}


def install(folder: Path, monkeypatch) -> None:
    """Let ManiSkill find a stand-in for every faucet and cabinet, and nothing to download."""
    from mani_skill import PACKAGE_ASSET_DIR
    from mani_skill.utils import assets
    from mani_skill.utils.building.articulations import partnet_mobility

    meta = PACKAGE_ASSET_DIR / "partnet_mobility/meta"
    for model, facts in json.loads((meta / "info_faucet_train.json").read_text()).items():
        switches = [name for name, _, part in facts["semantics"] if part == "switch"]
        _write(folder, model, dict.fromkeys(switches, SWITCH))
    for model in json.loads((meta / "info_cabinet_drawer_train.json").read_text()):
        _write(folder, model, {"drawer": DRAWER})
    monkeypatch.setattr(partnet_mobility, "ASSET_DIR", folder)
    monkeypatch.setattr(partnet_mobility, "PARTNET_MOBILITY", None)
    monkeypatch.setattr(assets, "is_data_source_downloaded", lambda name: True)


def _write(folder: Path, model: str, joints: dict[str, dict]) -> None:
    place = folder / "partnet_mobility" / "dataset" / model
    place.mkdir(parents=True)
    parts = [LINK.format(name="base", at="0 0 0", size="0.4 0.4 0.2")]
    for name, joint in joints.items():
        parts.append(LINK.format(name=name, at="0.1 0 0", size="0.1 0.02 0.02"))
        parts.append(JOINT.format(name=name, **joint))
    text = f'<robot name="model">{"".join(parts)}</robot>'
    (place / "mobility_cvx.urdf").write_text(text, encoding="utf-8")
