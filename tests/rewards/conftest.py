"""Fixtures of the tests of the judge and of the plot sandbox."""

from types import SimpleNamespace

import pytest

from tests.support.judge_server import Server
from tests.support.plot_escapes import SECRET, SUPPORT, secret_code
from vision_rewards import judging, plot_sandbox


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


@pytest.fixture(scope="module")
def loose_helpers():
    """Helpers without the list of names, after drawings that hold the secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot_sandbox, "SCRIPT", SUPPORT / "loose_plot_helper.py")
        patch.setattr(plot_sandbox, "_helpers", {})
        patch.setenv("CANARY", SECRET.decode())
        picture, reason = plot_sandbox.draw(secret_code())
        assert (reason, SECRET in picture.tobytes()) == ("ok", True)
        plot_sandbox.draw_target.cache_clear()
        assert plot_sandbox.draw_target(secret_code())[1] == "ok"
        helpers = plot_sandbox._helpers
    yield helpers
    for helper in helpers.values():
        helper.end()


@pytest.fixture
def without_names(loose_helpers, monkeypatch):
    """Code is drawn whatever it names: what it must not reach, the kernel must refuse."""
    monkeypatch.setattr(plot_sandbox, "_helpers", loose_helpers)
