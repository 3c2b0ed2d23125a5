"""Names of models on the Hub. tests/unit/test_push.py has what is fetched and pushed."""

import pytest

from gandist.errors import ConfigError
from gandist.storage.hub import check_name


@pytest.mark.parametrize("name", ["me/a", "me-2/a.b_c", "A1/b-c"])
def test_names_on_the_hub(name: str) -> None:
    check_name(name, name)
    for wrong in (
        f"{name}/",
        f"-{name}",
        f"{name}.git",
        f"{name}--x",
        f"{name} x",
        f"{name}/../x",
        name.partition("/")[0],
    ):
        with pytest.raises(ConfigError, match="OWNER/NAME"):
            check_name(wrong, wrong)
