import pytest

from kinetoken.training.schedule import learning_rate_scale


def scale(step: int, decay: float = 0.4, shape: str = "linear", warmup: int = 10) -> float:
    return learning_rate_scale(step, total_steps=100, warmup_steps=warmup, decay=decay, decay_shape=shape)  # type: ignore[arg-type]


def test_up_flat_and_down() -> None:
    assert [scale(step) for step in (0, 4, 9, 30, 60)] == pytest.approx([0.1, 0.5, 1, 1, 40 / 41])
    assert [scale(step) for step in (80, 99)] == pytest.approx([20 / 41, 1 / 41])


def test_cosine_is_half_way_down_in_the_middle_and_lower_at_the_end() -> None:
    assert scale(80, shape="cosine") == pytest.approx(0.5, abs=0.03)
    assert 0 < scale(99, shape="cosine") < scale(99)


def test_no_decay_and_no_warmup() -> None:
    assert {scale(step, decay=0.0, warmup=0) for step in range(100)} == {1.0}


def test_every_step_moves() -> None:
    assert all(0 < scale(step, decay=1.0, shape="cosine") <= 1 for step in range(100))
