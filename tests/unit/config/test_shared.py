"""What of a configuration is published."""

from pathlib import Path
from typing import Any

from gandist.config.shared import shareable


def test_credentials_are_taken_out() -> None:
    tree: dict[str, Any] = {
        "run": {"name": "a", "dir": "s3://key:secret@bucket/runs"},
        "data": {
            "path": "https://me:secret@host/shards/a-%06d.tar?X-Amz-Signature=secret&region=eu",
            "cache_dir": "/scratch",
            "options": {"symbols": "a://b c", "more": [f"{Path.home()}/files"]},
        },
        "eval": {"data": "s3://bucket/real?endpoint_override=host:9000&scheme=http"},
        "track": {"mlflow": "http://me:secret@host"},
    }
    shown, stripped = shareable(tree)
    assert shown == {
        "run": {"name": "a"},
        "data": {
            "path": "https://host/shards/a-%06d.tar?region=eu",
            "options": {"symbols": "a://b c", "more": ["~/files"]},
        },
        "eval": {"data": "s3://bucket/real?endpoint_override=host:9000&scheme=http"},
    }
    assert stripped == ["data.path"]
    assert tree["run"]["dir"] == "s3://key:secret@bucket/runs", "the run's own is unchanged"
