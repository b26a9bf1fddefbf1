"""Compiling and running a flow inside the test's own process, for the tests that do so very often."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flow_target import Finished, RunView, Target, Values


def compiled(file: Path) -> Any:
    """The compilation of a flow's file, which is forgotten by Python afterwards."""
    from flowc.compiler import compile_flow

    modules, path = set(sys.modules), list(sys.path)
    try:
        return compile_flow(str(file))
    finally:
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(file.parent)):
                del sys.modules[name]
        sys.path[:] = path


class InProcess(Target):
    """The local backend without the command line: compile and run from here. The file's name must be new each time."""

    name = "local-in-process"

    def run(
        self,
        flow_file: Path,
        params: Values | None = None,
        with_: Iterable[str] = (),
        expect: str = "done",
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> RunView:
        from flowc.backends.local import LocalSettings, run_local
        from flowc.compiler import compile_flow
        from flowc.runtime.parameters import parameter_values

        assert not options and not env
        lab = self.folder / "lab"
        lab.mkdir(exist_ok=True)
        values = {"lab": str(lab), **(params or {})}
        path = list(sys.path)
        compilation = compile_flow(str(flow_file), with_specs=tuple(with_))
        try:
            assert compilation.plan is not None, [str(d) for d in compilation.diagnostics]
            plan, flow, loaded = compilation.plan, compilation.flow, compilation.loaded
            given = parameter_values(flow, plan.to_json(), values, loaded.folder)
            said: list[str] = []
            result = run_local(
                plan, flow, loaded, given, LocalSettings(str(self.root)), lambda event: said.append(repr(event))
            )
        finally:
            sys.path[:] = path
            sys.modules.pop(flow_file.stem, None)
        assert result.state == expect, "\n".join(said)
        finished = Finished(result.exit_code, "\n".join(said), "")
        return RunView(plan.name, result.run_id, self.root, finished, self, flow_file, values)
