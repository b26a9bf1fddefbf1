"""The matrix that other targets are asked leaves no test out by mistake."""

from __future__ import annotations

from flow_shapes import SHAPES
from matrix_cases import MODULES, ONLY_HERE, asked_of_every_target, cases, resume


def test_whatever_takes_a_target_is_asked_of_every_target() -> None:
    everything = list(cases(SHAPES, SHAPES, resume.PLACES))
    names = [case.name for case in everything]
    assert len(names) == len(set(names))
    wanted = {function for module in MODULES for function in asked_of_every_target(module)}
    assert wanted - {case.function for case in everything} == set(ONLY_HERE)
