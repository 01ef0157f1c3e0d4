"""A URL may have the path of the API already, in part or whole, and a slash at its end."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.errors import CommandError
from tessera.urls import with_path

SEGMENTS = st.lists(st.sampled_from(["v1", "admin", "traces", "openai", "v"]), min_size=1, max_size=3)
PATHS = SEGMENTS.map(lambda names: "/" + "/".join(names))
ROOTS = st.sampled_from(["http://127.0.0.1:8000", "https://llm.example", "http://v1", "http://[::1]:80"])


@given(ROOTS, PATHS, st.data())
def test_every_form_of_a_url_means_the_same(root: str, path: str, data: st.DataObject) -> None:
    names = path.split("/")
    n_given = data.draw(st.integers(1, len(names)))
    slashes = data.draw(st.sampled_from(["", "/", "//"]))
    assert with_path(root + "/".join(names[:n_given]) + slashes, path) == root + path


@given(ROOTS, PATHS, PATHS)
def test_the_path_is_there_once_behind_what_was_given(root: str, before: str, path: str) -> None:
    found = urlsplit(with_path(root + before, path)).path
    assert found.startswith(before)
    assert found.endswith(path)
    assert len(found) <= len(before) + len(path)
    assert with_path(root + found, path) == root + found


@pytest.mark.parametrize(
    ("url", "path", "whole"),
    [
        ("http://127.0.0.1:8000/v1", "/v1", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "/v1", "http://127.0.0.1:8000/v1"),
        ("http://host/openai", "/v1", "http://host/openai/v1"),
        ("http://collector:4318/v1", "/v1/traces", "http://collector:4318/v1/traces"),
        ("http://host/v11", "/v1", "http://host/v11/v1"),
    ],
)
def test_examples(url: str, path: str, whole: str) -> None:
    assert with_path(url, path) == whole


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "http://",
        "ftp://host",
        "",
        "http://[::1",
        "http://host:port",
        "http://host:99999",
        "http://host:0",
        "http://:8000",
        "http://my host",
        "http:///v1",
        "http://user@/v1",
        "//host/v1",
    ],
)
def test_what_is_no_url_is_named(url: str) -> None:
    with pytest.raises(CommandError) as caught:
        with_path(url, "/v1")
    assert repr(url) in caught.value.message
