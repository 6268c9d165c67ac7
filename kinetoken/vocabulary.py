"""One id space for words and pictures: special ids, then text, then visual codes. And the text side's codec."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """text: ids of byte-level BPE; visual: codes of the video tokenizer.

    A place of text takes ids in [0, text_end), specials included, since END and PAD are things that a text can say;
    a place of the grid takes ids in [text_end, size).
    """

    text: int
    visual: int

    PAD: ClassVar[int] = 0  # after the end of a text
    END: ClassVar[int] = 1  # of a text
    MASK: ClassVar[int] = 2  # a place to be filled: read, never written
    SPECIAL: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if self.text < 1 or self.visual < 2:
            raise ValueError(f"a vocabulary needs text ids and at least 2 visual codes, found {self}")

    @property
    def text_end(self) -> int:
        return self.SPECIAL + self.text

    @property
    def size(self) -> int:
        return self.text_end + self.visual


class TextCodec:
    """Text to ids and back: byte-level BPE (Sennrich et al. 2016), so that no prompt is out of vocabulary.

    Letter case and repeated spaces carry no meaning in a prompt and are dropped.
    """

    def __init__(self, bpe: "Tokenizer") -> None:
        self._bpe = bpe

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> "TextCodec":
        """Learn at most `size` ids (at least 256, one for every byte) from texts."""
        if size < 256:
            raise ValueError(f"byte-level BPE needs at least 256 ids, found {size}")
        from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

        bpe = Tokenizer(models.BPE())
        bpe.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
        )
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        bpe.train_from_iterator(texts, trainer)
        return cls(bpe)

    @classmethod
    def from_json(cls, text: str) -> "TextCodec":
        from tokenizers import Tokenizer

        try:
            return cls(Tokenizer.from_str(text))
        except Exception as error:  # tokenizers raises bare Exception
            raise ValueError(f"the text codec cannot be read: {error}") from None

    def to_json(self) -> str:
        return self._bpe.to_str()

    @property
    def size(self) -> int:
        return self._bpe.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Vocabulary ids of a text, END included."""
        return [Vocabulary.SPECIAL + token for token in self._bpe.encode(text).ids] + [Vocabulary.END]

    def row(self, text: str, length: int) -> list[int]:
        """`encode`, padded to a row of `length` ids.

        Raises: ValueError for an empty text, or one that is longer than the row.
        """
        ids = self.encode(text)
        if len(ids) < 2:
            raise ValueError("the prompt is empty: say what should be seen, such as 'a red ball bounces'")
        if len(ids) > length:
            raise ValueError(
                f"the prompt takes {len(ids) - 1} tokens and this model reads at most {length - 1}: shorten it"
            )
        return ids + [Vocabulary.PAD] * (length - len(ids))

    def decode(self, ids: Sequence[int]) -> str:
        """The text before END; other special ids are skipped."""
        end = ids.index(Vocabulary.END) if Vocabulary.END in ids else len(ids)
        return self._bpe.decode([i - Vocabulary.SPECIAL for i in ids[:end] if i >= Vocabulary.SPECIAL]).strip()
