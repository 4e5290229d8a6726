import re

import pytest

from trainers import backbones
from trainers.errors import TrainerError


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(TrainerError, match=re.escape("did you mean 'mixer'?")):
        backbones.build("mixers", depth=1, classes=2, image=(8, 8), channels=1, dim=4, patch=4)


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(TrainerError, match=re.escape("unknown option of backbone 'mixer' 'pach'")):
        backbones.build("mixer", depth=1, classes=2, image=(8, 8), channels=1, dim=4, pach=4)
