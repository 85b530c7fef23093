"""Endpoints that are not embedded: at an address, or by a name that the data tool knows."""

import pytest

from lockgate.data import endpoints
from lockgate.errors import LockgateError
from lockgate.tools import Endpoint


def section(tool="data_designer", **endpoint):
    given = dict.fromkeys(("server", "url", "provider", "gateway", "api_key_env"))
    return {"tool": tool, "command": None, "endpoint": {**given, "model": "m", **endpoint}}


def test_an_address_is_taken_as_it_is():
    data = section(url="http://host:1/v1", api_key_env="KEY")
    assert endpoints.running(data) == Endpoint("http://host:1/v1", "m", "KEY")


def test_a_name_is_the_data_tools_to_know(tmp_path):
    data = section(provider="openai")
    with endpoints.serving(data, {}, 1, tmp_path / "log") as found:
        assert found.url.startswith("https://")
        assert found.api_key_env


@pytest.mark.parametrize("key", ["provider", "gateway"])
def test_a_tool_that_knows_no_names_says_so(key):
    with pytest.raises(LockgateError, match="knows no endpoints") as error:
        endpoints.running(section(tool="dataset", **{key: "openai"}))
    assert error.value.where == f"data.endpoint.{key}"
