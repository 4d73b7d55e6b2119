from __future__ import annotations

from pathlib import Path

from bench.peers.nginx import config


def test_it_takes_the_prefix_off_keeps_connections_and_buffers_nothing():
    text = config(Path("/f"), 8001, "http://127.0.0.1:9001")
    assert "listen 127.0.0.1:8001" in text
    assert "server 127.0.0.1:9001;" in text
    # The stroke behind the name of the upstream is what takes /bench/ off.
    assert "proxy_pass http://up/;" in text
    assert 'proxy_set_header Connection "";' in text
    assert "proxy_buffering off;" in text
    assert "worker_processes 1;" in text
    assert text.count("{") == text.count("}")
