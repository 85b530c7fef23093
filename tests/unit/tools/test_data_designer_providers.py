"""Endpoints that are known by a name: the tool's own vendors, and a platform's gateway."""

import json
import sys

import pytest

from lockgate.errors import LockgateError
from lockgate.tools import get
from lockgate.tools.data_designer import providers

TOOL = get("data", "data_designer", "test")
PROVIDERS = [
    {"name": "build", "workspace": "default", "host_url": "https://vendor.example/v1"},
    {"name": "mine", "workspace": "team", "host_url": "http://host:8000"},
]
VIEW = {"clusters": [{"base_url": "http://platform:8080/"}]}


def section(**endpoint):
    return {"endpoint": {"model": "m", "provider": None, "gateway": None, **endpoint}}


@pytest.fixture
def nemo(tmp_path, monkeypatch):
    """A function that puts a stand-in for the platform's command in its place.

    A platform cannot be started here: the answers have the form that nemo-platform 0.3.0 gives.
    """
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("NMP_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    def place(listed=PROVIDERS, view=VIEW, status=0, error=""):
        (tmp_path / "list.json").write_text(json.dumps(listed))
        (tmp_path / "view.json").write_text(json.dumps(view))
        lines = [
            "#!/bin/sh",
            f'cd "{tmp_path}"',
            'echo "$@" >> calls',
            f'[ {status} = 0 ] || {{ echo "{error}" >&2; exit {status}; }}',
            'if [ "$1" = config ]; then cat view.json; else cat list.json; fi',
        ]
        (tmp_path / "nemo").write_text("\n".join(lines) + "\n")
        (tmp_path / "nemo").chmod(0o755)

    return place


def test_a_vendor_has_the_address_and_the_variable_that_the_tool_knows():
    found = TOOL.endpoint(section(provider="nvidia"))
    known = {one["name"]: one for one in providers._predefined()}["nvidia"]
    assert (found.url, found.api_key_env) == (known["endpoint"], known["api_key"])
    assert (found.model, found.protocol) == ("m", known["provider_type"])
    own = TOOL.endpoint(section(provider="nvidia", api_key_env="MINE"))
    assert own.api_key_env == "MINE"


def test_an_unknown_vendor_is_named_with_the_nearest():
    with pytest.raises(LockgateError, match="nvida") as error:
        TOOL.endpoint(section(provider="nvida"))
    assert error.value.where == "data.endpoint.provider"
    assert "did you mean 'nvidia'?" in error.value.hint


def test_a_vendors_key_must_be_set_before_any_request(tmp_path, monkeypatch):
    found = TOOL.endpoint(section(provider="nvidia"))
    monkeypatch.delenv(found.api_key_env, raising=False)
    (tmp_path / "design.py").write_text("")
    with pytest.raises(LockgateError, match=f"{found.api_key_env} is not set"):
        TOOL.validate(tmp_path / "design.py", {"script": "x"}, found, tmp_path / "work")


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("build", "workspaces/default/provider/build/-"),
        ("team/mine", "workspaces/team/provider/mine/-/v1"),
    ],
)
def test_a_gateways_address_is_the_platforms(nemo, tmp_path, name, url):
    nemo()
    found = TOOL.endpoint(section(gateway=name, api_key_env="TOKEN"))
    assert found.url == f"http://platform:8080/apis/inference-gateway/v2/{url}"
    assert found.api_key_env == "TOKEN"
    first = (tmp_path / "calls").read_text().splitlines()[0]
    assert first.startswith("inference providers list --all-pages")
    assert ("--workspace team" in first) == (name == "team/mine")


def test_the_environment_may_say_where_the_platform_is(nemo, monkeypatch):
    nemo(view={})
    monkeypatch.setenv("NMP_BASE_URL", "http://other")
    assert TOOL.endpoint(section(gateway="build")).url.startswith("http://other/apis/")


@pytest.mark.parametrize(
    ("told", "name", "what"),
    [
        ({"status": 3, "error": "Connection refused"}, "build", "Connection refused"),
        ({}, "biuld", "no provider 'biuld'"),
        ({"view": {}}, "build", "where its platform is"),
        ({"listed": {"data": []}}, "build", "no provider 'build'"),
    ],
)
def test_a_platform_that_does_not_help_is_one_message(nemo, told, name, what):
    nemo(**told)
    with pytest.raises(LockgateError, match=what) as error:
        TOOL.endpoint(section(gateway=name))
    assert error.value.where == "data.endpoint.gateway"
    assert error.value.hint


def test_a_gateway_needs_the_platforms_command(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LockgateError, match="not here") as error:
        TOOL.endpoint(section(gateway="build"))
    assert "nemo-platform" in error.value.hint
