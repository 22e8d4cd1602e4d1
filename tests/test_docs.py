"""What the documents must mention, or they have fallen behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from lehr.settings import Settings
from lehr.templates import CATALOGUE

ROOT = Path(__file__).parent.parent
SETTINGS = (ROOT / "docs/settings.md").read_text()


@pytest.mark.parametrize("name", Settings.__dataclass_fields__)
def test_every_setting_is_documented(name):
    assert f"LEHR_{name.upper()}" in SETTINGS


@pytest.mark.parametrize("name", Settings.__dataclass_fields__)
def test_every_setting_travels_to_child_processes_and_back(name):
    value = {"port": "1234", "predictors": "3", "workers": "2", "precision": "f32"}.get(name, "abc")
    there = Settings.from_environment({f"LEHR_{name.upper()}": value})
    again = Settings.from_environment(there.to_environment())
    assert getattr(again, name) == (getattr(there, name) if name != "pat" else "")


@pytest.mark.parametrize(
    "room", sorted(path.name for path in (ROOT / "src/lehr").iterdir() if not path.name.startswith("_"))
)
def test_every_room_is_on_the_map(room):
    assert f"`{room}{'/' if (ROOT / 'src/lehr' / room).is_dir() else ''}`" in (ROOT / "docs/map.md").read_text()


@pytest.mark.parametrize("template", CATALOGUE, ids=lambda template: template.name)
def test_every_template_says_when_to_use_it_and_what_it_reached(template):
    assert template.description
    assert template.when
    assert any(character.isdigit() for character in template.measured)


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_no_file_is_longer_than_a_person_reads_at_once(path):
    assert len(path.read_text().splitlines()) <= 400
