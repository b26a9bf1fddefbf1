"""Values of ``@kubernetes``: as Kubernetes writes them, and what is wrong with one; each ``bad_`` tells, or None."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?"
_PATH = r"/[^\0:]+"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def bad_subdomain(value: Any) -> str | None:
    """Unless it is the name of an object."""
    if re.fullmatch(_SUBDOMAIN, str(value)) and len(str(value)) <= 253:
        return None
    return f"{value!r} is no name of an object: a-z, 0-9, - and ."


def bad_subdomains(values: Any) -> str | None:
    """Unless they are names of objects."""
    return next(filter(None, map(bad_subdomain, values)), None)


def bad_namespace(value: Any) -> str | None:
    """Unless it is a namespace."""
    return None if re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value) else f"{value!r} is no namespace"


def bad_key(value: Any) -> str | None:
    """Unless it is a key of a label or annotation."""
    prefix, slash, name = str(value).rpartition("/")
    good = re.fullmatch(_LABEL, name) and len(name) <= 63
    if good and (not slash or re.fullmatch(_SUBDOMAIN, prefix)):
        return None
    return f"{value!r} is no key of a label"


def bad_labels(values: Any) -> str | None:
    """Unless they are labels."""
    for key, value in values.items():
        if bad_key(key):
            return bad_key(key)
        if value and (not re.fullmatch(_LABEL, value) or len(value) > 63):
            return f"{value!r} is no value of a label: at most 63 letters, digits, -, _ and ."
        if key.startswith("flowc/"):
            return f"{key} is flowc's own"
    return None


def bad_annotations(values: Any) -> str | None:
    """Unless they are annotations."""
    return next(filter(None, map(bad_key, values)), None)


def bad_selector(value: Any) -> str | None:
    """Unless it is a node selector."""
    try:
        return bad_labels(selector(value))
    except ValueError as error:
        return str(error)


def selector(value: Any) -> dict[str, str]:
    """A node selector, also from text as ``key=value,key=value``.

    Raises
    ------
    ValueError
        If the text is not so.
    """
    if not isinstance(value, str):
        return dict(value)
    parts = [item.partition("=") for item in value.split(",")]
    if not all(key.strip() and equals for key, equals, _ in parts):
        raise ValueError(f"{value!r} is not written as key=value,key=value")
    return {key.strip(): text.strip() for key, _, text in parts}


def bad_image(value: Any) -> str | None:
    """Unless it is an image."""
    return None if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", value) else f"{value!r} is no image"


def bad_path(value: Any) -> str | None:
    """Unless it is a path to mount at."""
    if not re.fullmatch(_PATH, str(value)) or ".." in str(value).split("/"):
        return f"{value!r} is no absolute path without ':'"
    if str(value) == "/flowc" or str(value).startswith("/flowc/"):
        return f"{value!r} is flowc's own"
    return None


def bad_claims(values: Any) -> str | None:
    """Unless they are claims and their paths."""
    found = [*map(bad_subdomain, values), *map(bad_path, values.values()), *map(_bad_share, values.values())]
    return next(filter(None, found), None)


def _bad_share(value: Any) -> str | None:
    """Unless pods may share what is mounted there; below /tmp/flowc each has files of its own."""
    path = f"/{posixpath.normpath(str(value)).lstrip('/')}"
    if path in ("/tmp", "/tmp/flowc") or path.startswith("/tmp/flowc/"):  # noqa: S108
        return f"flowc keeps files of each pod at {value!r}; mount it elsewhere"
    return None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def tolerations(values: Any) -> list[dict[str, Any]]:
    """Tolerations with Kubernetes' own names of the fields."""
    return [{_camel(key): item for key, item in value.items() if item is not None} for value in values]


_TOLERATION: dict[str, type] = {"key": str, "operator": str, "value": str, "effect": str, "tolerationSeconds": int}


def bad_tolerations(values: Any) -> str | None:
    """Unless they are tolerations."""
    for item in tolerations(values):
        for name, value in item.items():
            if name not in _TOLERATION:
                return f"a toleration has no {name!r}; it has {', '.join(_TOLERATION)}"
            if not isinstance(value, _TOLERATION[name]) or isinstance(value, bool):
                return f"{name}={value!r} of a toleration is no {_TOLERATION[name].__name__}"
        if item.get("operator", "Equal") not in ("Exists", "Equal"):
            return f"operator={item['operator']!r} of a toleration is neither Exists nor Equal"
        if item.get("effect", "NoExecute") not in _EFFECTS:
            return f"effect={item['effect']!r} of a toleration is none of {', '.join(_EFFECTS)}"
        if item.get("operator") == "Exists" and item.get("value"):
            return "a toleration with operator Exists has no value"
        if not item.get("key") and item.get("operator") != "Exists":
            return "a toleration without key has operator Exists"
        if "tolerationSeconds" in item and item.get("effect") != "NoExecute":
            return "tolerationSeconds goes with the effect NoExecute"
        if item.get("key") and bad_key(item["key"]):
            return bad_key(item["key"])
    return None


_SECURITY: dict[str, type] = {
    "allowPrivilegeEscalation": bool, "capabilities": dict, "privileged": bool, "procMount": str,
    "readOnlyRootFilesystem": bool, "runAsGroup": int, "runAsNonRoot": bool, "runAsUser": int,
    "seLinuxOptions": dict, "seccompProfile": dict,
}  # fmt: skip
_SECURITY_PARTS: dict[str, dict[str, type]] = {
    "capabilities": {"add": list, "drop": list},
    "seLinuxOptions": {"level": str, "role": str, "type": str, "user": str},
    "seccompProfile": {"type": str, "localhostProfile": str},
}


_POD_SECURITY: dict[str, type] = {"fsGroup": int, "fsGroupChangePolicy": str, "supplementalGroups": list}
"""What of a security context is the pod's: who may write to what is mounted."""


def security_context(values: Any) -> dict[str, Any]:
    """The container's security context with Kubernetes' own names of the fields."""
    return {name: value for name, value in _security(values).items() if name not in _POD_SECURITY}


def pod_security_context(values: Any) -> dict[str, Any]:
    """The same of the pod."""
    return {name: value for name, value in _security(values).items() if name in _POD_SECURITY}


def _security(values: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = {_camel(name): item for name, item in value.items()}
        if value is not None:
            out[_camel(key)] = value
    return out


def bad_security(values: Any) -> str | None:
    """Unless it is a security context, of a container or a pod."""
    kinds = {**_SECURITY, **_POD_SECURITY}
    for name, value in _security(values).items():
        kind = kinds.get(name)
        if kind is None:
            return f"there is no {name!r}; there are {', '.join(kinds)}"
        fits: bool = isinstance(value, kind)
        if not fits or (kind is int and (isinstance(value, bool) or value < 0)):
            return f"{name}={value!r} is no {kind.__name__}"
        for part, item in value.items() if isinstance(value, dict) else ():
            wanted = _SECURITY_PARTS[name].get(part)
            if wanted is None or not isinstance(item, wanted):
                return f"{name} takes {', '.join(_SECURITY_PARTS[name])}, not {part}={item!r}"
            if isinstance(item, list) and not all(isinstance(each, str) for each in item):
                return f"{part} of {name} is a list of texts"
        if name == "seccompProfile" and (
            value.get("type") not in ("RuntimeDefault", "Unconfined", "Localhost")
            or (value["type"] == "Localhost") != ("localhostProfile" in value)
        ):
            return "seccompProfile has the type RuntimeDefault, Unconfined, or Localhost with a localhostProfile"
        if name == "supplementalGroups" and not all(type(item) is int and item >= 0 for item in value):
            return f"supplementalGroups={value!r} is no list of numbers of groups"
        if name == "fsGroupChangePolicy" and value not in ("Always", "OnRootMismatch"):
            return f"fsGroupChangePolicy={value!r} is neither Always nor OnRootMismatch"
        if name == "procMount" and value not in ("Default", "Unmasked"):
            return f"procMount={value!r} is neither Default nor Unmasked"
    if security_context(values).get("privileged") and security_context(values).get("allowPrivilegeEscalation") is False:
        return "privileged and allowPrivilegeEscalation=False contradict each other"
    return None


def bad_extended(values: Any) -> str | None:
    """Unless they are counts of extended resources."""
    for name, value in values.items():
        # https://kubernetes.io/docs/tasks/manage-hugepages/scheduling-hugepages/
        if re.fullmatch(r"hugepages-[0-9]+[KMGT]i", name):
            if not re.fullmatch(r"[1-9][0-9]*[KMGT]i", str(value)):
                return f"{name} takes an amount of memory such as '512Mi', not {value!r}"
            continue
        if "/" not in name or bad_key(name):
            return f"{name!r} is no extended resource, such as rdma/hca"
        # Metaflow's are texts.
        if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]*", str(value)):
            return f"{name} takes a whole number from 1, not {value!r}"
    return None


def bad_vendor(value: Any) -> str | None:
    """Unless it is the vendor, or the name, of a device."""
    return bad_key(value) if "/" in value else bad_subdomain(value)


def bad_executable(value: Any) -> str | None:
    """Unless it is a program."""
    return None if re.fullmatch(r"[A-Za-z0-9_./+-]+", value) else f"{value!r} is no program"


def bad_count(value: Any) -> str | None:
    """Unless it is 1 or more."""
    return None if value >= 1 else f"{value!r} is less than 1"
