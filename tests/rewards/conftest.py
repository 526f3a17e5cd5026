"""Fixtures of the judge's tests."""

from types import SimpleNamespace

import pytest

from tests.support.judge_server import Server
from vision_rewards import judging


@pytest.fixture
def clean(monkeypatch):
    """No judge is known and no proxy is used; the list of waits between tries, none of which is waited for."""
    judging._sessions.clear()
    monkeypatch.setenv("NO_PROXY", "*")
    waits = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=waits.append))
    yield waits
    judging._sessions.clear()


@pytest.fixture
def serve(clean):
    """Starts a `Server`: each item of its script a status, a reply, or (status, body or reply, headers)."""
    servers = []

    def start(*script):
        script = [(item, "", {}) if isinstance(item, int) else item for item in script]
        servers.append(Server(*((200, item, {}) if isinstance(item, (str, bytes)) else item for item in script)))
        return servers[-1]

    yield start
    for server in servers:
        server.gate.set()
        server.server.shutdown()
        server.server.server_close()
