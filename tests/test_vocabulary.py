import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetoken.vocabulary import TextCodec, Vocabulary

CODEC = TextCodec.train(["a red ball bounces while a blue square spins"] * 4, size=300)


def test_ids_of_one_space_do_not_overlap() -> None:
    vocabulary = Vocabulary(text=300, visual=1000)
    assert max(Vocabulary.PAD, Vocabulary.END, Vocabulary.MASK) < Vocabulary.SPECIAL
    assert vocabulary.text_end == 304 and vocabulary.size == 1304


@given(st.text(st.characters(codec="utf-8", categories=["Ll", "Nd", "Po", "So", "Lo"]), max_size=40))
def test_every_text_comes_back(text: str) -> None:
    from tokenizers.normalizers import NFKC  # Python's may be of another version of Unicode

    expected = " ".join(NFKC().normalize_str(text).lower().split())
    assert CODEC.decode(CODEC.encode(text)) == expected


def test_case_and_spaces_carry_no_meaning() -> None:
    assert CODEC.encode("  A Red   BALL ") == CODEC.encode("a red ball")


def test_a_codec_survives_json() -> None:
    again = TextCodec.from_json(CODEC.to_json())
    assert again.encode("a red ball") == CODEC.encode("a red ball")


@pytest.mark.parametrize(("text", "why"), [("", "empty"), (" \n ", "empty"), ("ball " * 50, "shorten")])
def test_a_row_refuses_what_it_cannot_hold(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        CODEC.row(text, 16)


def test_broken_json_is_the_users_problem_said_plainly() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        TextCodec.from_json("{")
