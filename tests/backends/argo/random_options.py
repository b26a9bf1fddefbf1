"""Random decorators and parameters for random flows: values that Kubernetes takes, in any combination."""

from __future__ import annotations

from dataclasses import dataclass

from flow_text import FlowText
from hypothesis import strategies as st

# As YAML would misread them, or Argo and the kubelet replace a part.
_WORDS = ["n", "1e3", "0o7", "- x: #", "{{workflow.name}}", "$(HOME) $$", "<é>\n"]
_KUBERNETES = {
    "annotations": ["{'a.b/c': 'n'}"],
    "cpu": ["0.1", "2", "'1500m'"],
    "disk": ["500", "'2Gi'"],
    "efa": ["1"],
    "executable": ["'/opt/python'"],
    "extended_resources": ["{'rdma/hca': 1}", "{'hugepages-2Mi': '128Mi'}"],
    "gpu": ["1", "8"],
    "gpu_vendor": ["'amd'"],
    "hostname_resolution_timeout": ["90"],
    "image": ["'ghcr.io/a/b:1e3'"],
    "image_pull_policy": ["'Always'"],
    "image_pull_secrets": ["['hub']"],
    "labels": ["{'team': 'yes', 'n': ''}"],
    "memory": ["100", "'1Gi'"],
    "node_selector": ["'pool=n,zone=b'"],
    "persistent_volume_claims": ["{'data': '/data', 'more': '/more'}"],
    "port": ["80"],
    "priority_class": ["'high'"],
    "qos": ["'Guaranteed'"],
    "queue": ["'gpu'"],
    "secrets": ["['one', 'two']"],
    "security_context": ["{'run_as_user': 7, 'fs_group': 9}", "{'read_only_root_filesystem': True}"],
    "service_account": ["'trainer'"],
    "shared_memory": ["64"],
    "spot": ["True"],
    "tmpfs_size": ["7"],
    "tolerations": ["[{'key': 'a', 'operator': 'Exists', 'effect': 'NoExecute', 'toleration_seconds': 5}]"],
    "topology": ["'rack'"],
    "use_tmpfs": ["True"],
}
_OTHERS = [
    "@resources(cpu=4, memory=100, gpu=1)",
    "@resources(disk='3G', shared_memory=9)",
    "@retry(times=0)",
    "@retry(times=2, minutes_between_retries=0)",
    "@retry(times=3, minutes_between_retries=1e-6, backoff=1.5)",
    "@retry(minutes_between_retries=1.25, backoff=3)",
    "@timeout(seconds=0.5)",
    "@timeout(hours=30)",
    "@checkpoint(grace=0.5)",
    "@checkpoint(grace=90.5)",
]
_PARAMETERS = [
    '"n", default=1e-3, help="y: {{n}}"',
    '"n", default=True',
    '"n", required=True, type=int',
    "\"n\", type=JSONType, default={'no': [1e3, None], 'n': {'{{': '<&>'}}",
    '"n", default=["{{a}}", "b"], separator=","',
    '"n", default=["y", "n"], separator=","',
    '"n", default=lambda context: "x"',
]


@dataclass(frozen=True)
class Options:
    """Decorators by the number of a step, and the text of a parameter."""

    decorators: dict[int, list[str]]
    parameter: str

    def text_of(self, flow: FlowText) -> str:
        """The source of a flow that has them."""
        steps = list(flow.steps)
        for number, decorators in self.decorators.items():
            step = flow.steps[steps[number % len(steps)]]
            step.decorators = step.decorators or decorators
        if self.parameter:
            flow.attributes.append(f"n = Parameter({self.parameter})")
        return flow.text().replace("import FlowSpec", "import FlowSpec, checkpoint, kubernetes, resources", 1)


@st.composite
def _of_a_step(draw: st.DrawFn) -> list[str]:
    names = draw(st.lists(st.sampled_from(sorted(_KUBERNETES)), max_size=4, unique=True))
    written = ", ".join(f"{name}={draw(st.sampled_from(_KUBERNETES[name]))}" for name in names)
    out = [f"@kubernetes({written})"] if names else []
    others = draw(st.lists(st.sampled_from(_OTHERS), max_size=2, unique_by=lambda text: text.partition("(")[0]))
    words = draw(st.lists(st.sampled_from(_WORDS), max_size=2, unique=True))
    variables = dict(zip(("n", "PYTHONPATH"), words))
    return [*out, *others, *([f"@environment(vars={variables!r})"] if words else [])]


def options() -> st.SearchStrategy[Options]:
    """Decorators for up to three steps, and perhaps a parameter."""
    of_steps = st.dictionaries(st.integers(0, 30), _of_a_step(), max_size=3)
    return st.builds(Options, of_steps, st.sampled_from(["", *_PARAMETERS]))
