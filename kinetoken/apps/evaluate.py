"""kinetoken evaluate"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from kinetoken.apps.options import progress

if TYPE_CHECKING:
    from kinetoken.clip import Clip
    from kinetoken.evaluation.features import Extractor
    from kinetoken.evaluation.generation import Record
    from kinetoken.evaluation.likeness import Made, Shown, Stretch
    from kinetoken.generator import Generator

Measurement = Literal[
    "adherence",
    "tasks",
    "ceiling",
    "captions",
    "reconstruction",
    "generation",
    "names",
    "loops",
    "gravity",
    "drift",
    "judge",
]
USUAL_COUNT = {
    "adherence": 300,
    "tasks": 100,
    "ceiling": 300,
    "captions": 300,
    "reconstruction": 500,
    "generation": 200,
    "names": 300,
    "loops": 100,
    "gravity": 100,
    "drift": 20,
    "judge": 1000,
}
OF_OWN_CLIPS = ("reconstruction", "generation", "names", "loops")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Measure a model on held-out scenes of toybox, combinations of shape, colour and motion never trained on; or, with
    --data, on clips of your own.

    adherence: clips made from captions, every stated attribute judged from the pixels. tasks: every job (animate,
    extend, …), --count clips for each: kept pixels, lengths, seams, prompts; exit code 1 if any promise breaks.
    ceiling: rendered clips sent through the tokenizer. captions: what the model says of rendered clips. reconstruction:
    PSNR, SSIM, flicker and a perceptual distance of the tokenizer, on toybox or on your own clips (--data). generation:
    clips made from the captions of your own clips (--data), which should be none that were trained on, and how like
    those they are: Fréchet distances of frames and of changes, density and coverage, and with --trained-on the nearest
    training clips, and whether they show what was asked for (pip install "kinetoken[evaluation]"; docs/evaluation.md).
    names: whether what is made from captions of your clips (--data) is taken for the right clips. loops: whether it
    loops, if asked to. gravity: fitted to generated bounces. drift: adherence in each eighth of clips of eight times
    the model's length. judge: the judge itself, against rendered truth.
    """

    what: Positional[Measurement]
    """Which measurement."""
    model: str = "toybox"
    """A bundled model (toybox or emoji), a folder that training wrote, or owner/name on the hub."""
    count: int | None = None
    """How many scenes or clips; as many as the model's card has if not given, or as there are."""
    actors: int = 1
    """Objects in each scene, for adherence and ceiling."""
    data: Path | None = None
    """For reconstruction, generation, names and loops: clips of your own, as kinetoken data prepare wrote them. For
    reconstruction they are measured as they are, else at the model's size, rate and length."""
    enlarge: int = 1
    """For reconstruction with --data: so many times as wide and high clips go through the tokenizer; they are compared
    at their own size. A tokenizer of large cells, like emoji's, wants it for small clips."""
    refine: int = 0
    """For reconstruction: in so many turns codes are looked for that decode to less error, for about 2 seconds a turn
    and clip."""
    trained_on: tuple[Path, ...] = ()
    """With --data: prepared clips that the model has been trained on. Refuses to measure if one is in both."""
    device: str | None = None
    """cpu, cuda, …; the best there is if not given."""
    steps: int | None = None
    """Sampling steps, instead of the model's own."""
    guidance: float | None = None
    """Guidance, instead of the model's own."""
    temperature: float | None = None
    """Temperature, instead of the model's own."""
    revision: float | None = None
    """Share of codes taken back before each step, instead of the model's own."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """A folder for figures.json, records.jsonl and a sheet of the clips, the wrong ones marked; or, of
    generation, the nearest training clip under each."""

    def execute(self) -> None:
        count = USUAL_COUNT[self.what] if self.count is None else self.count
        least = 2 if self.what in ("generation", "names") else 1  # a covariance needs two, and so does a choice
        if count < least or self.actors not in (1, 2, 3):
            found = f"found {count} and {self.actors}"
            raise ValueError(f"--count must be at least {least} and --actors 1, 2 or 3, {found}")
        if (self.data or self.trained_on) and (self.what not in OF_OWN_CLIPS or self.data is None):
            raise ValueError(f"--data is for {', '.join(OF_OWN_CLIPS)}, and --trained-on for --data")
        if self.enlarge < 1 or (self.enlarge > 1 and (self.what != "reconstruction" or self.data is None)):
            raise ValueError(f"--enlarge must be at least 1 and is for reconstruction of --data, found {self.enlarge}")
        if self.refine < 0 or (self.refine and self.what != "reconstruction"):
            raise ValueError(f"--refine must be at least 0 and is for reconstruction, found {self.refine}")
        if self.what == "generation" and self.data is None:
            raise ValueError("generation needs --data: prepared clips that the model has not been trained on")
        if self.what in ("names", "loops") and self.data is None:
            raise ValueError(f"{self.what} needs --data: prepared clips with captions")
        if self.what == "judge":
            from kinetoken.evaluation.judge_report import judge_report

            figures: dict[str, Any] = judge_report(count, 0)
            records: Sequence[Record] = []
        elif self.what == "generation":
            figures, records = self._generation(count)
        elif self.what == "names":
            figures, records = self._names(count)
        elif self.what == "loops":
            figures, records = self._loops(count)
        else:
            from kinetoken.evaluation.generation import FIRST_SEED, summary

            total = count
            if self.what == "tasks":
                from kinetoken.evaluation.tasks import JOBS  # type: ignore[assignment]
                from kinetoken.evaluation.tasks import summary_by_job as summary

                total = count * len(JOBS)
            records = list(progress(self._records(count), self.what, total=total))
            resize = "none" if self.enlarge == 1 else f"{self.enlarge} times as large, and back; Lanczos"
            split = "train, seeds never trained on" if self.what == "gravity" else "held-out"
            source = {"split": split, "first_seed": FIRST_SEED} if self.data is None else self._source(resize)
            figures = summary(records) | source
            if "perceptual" in figures:
                from kinetoken.evaluation.features import DISTANCE

                figures["features"] = DISTANCE
        asked = {"measurement": self.what, "model": self.model} | ({} if self.data else {"actors": self.actors})
        asked |= {"refined": f"{self.refine} turns"} if self.refine else {}
        print(json.dumps(asked | figures, indent=2))
        if self.output is not None:
            self._write(figures, records)
        if self.what == "tasks":
            from kinetoken.evaluation.tasks import broken_promises

            if broken := broken_promises(records):
                raise SystemExit("broken promises: " + "; ".join(broken))

    def _records(self, count: int) -> "Iterator[Record]":
        from kinetoken.evaluation import generation

        generator = self._generator()
        match self.what:
            case "adherence":
                return generation.adherence(generator, count=count, actors=self.actors)
            case "tasks":
                from kinetoken.evaluation.tasks import every_job

                return every_job(generator, count=count)
            case "ceiling":
                return generation.ceiling(generator.tokenizer, count=count, actors=self.actors)
            case "captions":
                return generation.captioning(generator, count=count)
            case "reconstruction" if self.data is not None:
                from kinetoken.data.tar_shards import TarShards

                shards = TarShards(self.data)
                return generation.reconstruction_of(
                    generator.tokenizer,
                    shards,
                    count=count,
                    enlarge=self.enlarge,
                    refine=self.refine,
                    extractor=_extractor(),
                    trained_on=self.trained_on,
                )
            case "reconstruction":
                return generation.reconstruction(
                    generator.tokenizer, count=count, refine=self.refine, extractor=_extractor()
                )
            case "drift":
                return generation.drift(generator, count=count)
            case _:
                return generation.gravity(generator, count=count)

    def _generation(self, count: int) -> "tuple[dict[str, Any], list[Made]]":
        from kinetoken.data.tar_shards import TarShards, check_apart
        from kinetoken.evaluation import likeness
        from kinetoken.evaluation.features import NAME, Extractor

        assert self.data is not None
        shards = TarShards(self.data)
        check_apart(self.data, self.trained_on)
        generator = self._generator()
        config, extractor = generator.config, Extractor(generator.device)
        chosen = likeness.held_out(shards, config, count)
        trained = [part for folder in self.trained_on for part in likeness.stretches(TarShards(folder), config)]
        if self.trained_on and len(trained) < 2:
            raise ValueError(f"fewer than two clips of --trained-on are as long as what {self.model} makes")

        def shown(parts: "Sequence[Stretch]", name: str) -> "Iterator[Shown]":
            return progress(likeness.see(parts, config, extractor), name, total=len(parts))

        examples = list(shown(chosen, "real clips"))
        prompts, real = likeness.prompts(generator, examples), [one.seen for one in examples]
        training = likeness.Training.of(trained, shown(trained, "training clips")) if trained else None
        made = likeness.generated(generator, prompts, extractor, training)
        records = list(progress(made, self.what, total=len(prompts)))
        figures: dict[str, Any] = {"count": len(records)}
        figures |= likeness.likeness(real, [record.seen for record in records])
        if training is not None:
            instead = [one.seen for one in likeness.see(likeness.spread(trained, len(real)), config, extractor)]
            figures["training_clips_instead"] = {"count": len(instead)} | likeness.likeness(real, instead)
            figures |= likeness.remembered(real, records, training)
            figures |= likeness.agreement(generator, real, records, training)
        resize = f"Lanczos to {config.frames} frames of {config.width}x{config.height} at {config.fps:g} fps"
        about = {"features": NAME, "seeds": f"0 to {len(records) - 1}", "caution": likeness.CAUTION}
        return figures | self._source(resize) | about, records

    def _names(self, count: int) -> "tuple[dict[str, Any], list[Record]]":
        from kinetoken.data.tar_shards import TarShards, check_apart
        from kinetoken.evaluation import likeness, naming
        from kinetoken.evaluation.generation import through

        assert self.data is not None
        shards, folders = TarShards(self.data), (self.data, *self.trained_on)
        check_apart(self.data, self.trained_on)
        generator = self._generator()
        config = generator.config
        examples = [part.read(config) for part in likeness.held_out(shards, config, count)]
        prompts = likeness.prompts(generator, examples)
        parts = [part for folder in folders for part in likeness.stretches(TarShards(folder), config)]
        read = progress((part.read(config) for part in parts), "known clips", total=len(parts))
        known = naming.Known.of(parts, read)
        matcher = known.matcher(generator)

        def shares(make: "Callable[[int], Clip]", name: str) -> "tuple[dict[str, Any], list[Record]]":
            found = naming.named(config, examples, prompts, make, known, matcher)
            records = list(progress(found, name, total=len(examples)))
            return _shares(records), records

        real, _ = shares(lambda number: through(generator.tokenizer, examples[number].clip), "through the tokenizer")
        figures, records = shares(lambda number: generator.generate(prompts[number], seed=number), self.what)
        figures = {"count": len(records)} | figures | {"through_the_tokenizer": real}
        figures |= {"of": len(set(known.sources)), "clips": len(parts), "by": naming.GLANCE}
        return figures | {"seeds": f"0 to {len(records) - 1}", "data": ", ".join(map(str, folders))}, records

    def _loops(self, count: int) -> "tuple[dict[str, Any], list[Record]]":
        from kinetoken.data.tar_shards import TarShards, check_apart
        from kinetoken.evaluation import generation, likeness

        assert self.data is not None
        check_apart(self.data, self.trained_on)
        generator = self._generator()
        chosen = likeness.held_out(TarShards(self.data), generator.config, count)
        prompts = likeness.prompts(generator, (part.read(generator.config) for part in chosen))
        records = list(progress(generation.looping(generator, prompts), self.what, total=len(prompts)))
        figures = generation.summary(records)
        ratio = {"seam_over_median_step": {"mean": figures.pop("mean"), "median": figures.pop("median")}}
        return figures | ratio | {"seeds": f"0 to {len(records) - 1}", "data": str(self.data)}, records

    def _generator(self) -> "Generator":
        from kinetoken.generator import Generator

        return Generator.from_pretrained(self.model, device=self.device).with_sampling(
            steps=self.steps, guidance=self.guidance, temperature=self.temperature, revision=self.revision
        )

    def _source(self, resize: str = "none") -> dict[str, str]:
        against = ", ".join(map(str, self.trained_on))
        split = f"none in {against} (by hash of the pixels)" if against else "not compared with training clips"
        return {"data": str(self.data), "split": split, "resize": resize}

    def _write(self, figures: dict[str, Any], records: "Sequence[Record]") -> None:
        assert self.output is not None
        self.output.mkdir(parents=True, exist_ok=True)
        (self.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
        with (self.output / "records.jsonl").open("w") as lines:
            for record in records:
                fields = {"seed": record.seed, "text": record.text, "figure": record.figure, "verdict": record.verdict}
                fields |= record.measures | ({"nearest": record.below_is} if record.below_is else {})
                lines.write(json.dumps(fields) + "\n")
        clips = [(record.clip, record.right) for record in records[:48] if record.clip is not None]
        if clips:
            from kinetoken.apps.sheets import save_sheet

            below = [record.below for record in records[:48] if record.below is not None]
            marks = [right for _, right in clips]
            save_sheet([clip for clip, _ in clips], self.output / "clips.png", marks=marks, below=below)


def _shares(records: "Sequence[Record]") -> dict[str, Any]:
    from kinetoken.evaluation.generation import summary

    found = summary(records)
    return {"names_right": found["clips_right"], "names_right_95%": found["clips_right_95%"]}


def _extractor() -> "Extractor | None":
    """What measures a perceptual distance; None, and a word about that, if it is not installed."""
    from kinetoken.evaluation.features import Extractor

    try:
        return Extractor()
    except ValueError as error:
        print(f"no perceptual distance: {error}", file=sys.stderr)
        return None
