"""kinetoken evaluate"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from kinetoken.apps.options import progress

if TYPE_CHECKING:
    from kinetoken.evaluation.generation import Record

Measurement = Literal["adherence", "tasks", "ceiling", "captions", "reconstruction", "gravity", "drift", "judge"]
USUAL_COUNT = {
    "adherence": 300,
    "tasks": 100,
    "ceiling": 300,
    "captions": 300,
    "reconstruction": 500,
    "gravity": 100,
    "drift": 20,
    "judge": 1000,
}


@dataclass(frozen=True, kw_only=True)
class Command:
    """Measure a model on held-out scenes of toybox: combinations of shape, colour and motion never trained on.

    adherence: clips made from captions, every stated attribute judged from the pixels. tasks: every job (animate,
    extend, …), --count clips for each: kept pixels, lengths, seams, prompts; exit code 1 if any promise breaks.
    ceiling: rendered clips sent through the tokenizer. captions: what the model says of rendered clips. reconstruction:
    PSNR, SSIM and flicker of the tokenizer, on toybox or on your own clips (--data). gravity: fitted to generated
    bounces. drift: adherence in each eighth of clips of eight times the model's length. judge: the judge itself,
    against rendered truth.
    """

    what: Positional[Measurement]
    """Which measurement."""
    model: str = "toybox"
    """A bundled model, a folder that training wrote, or owner/name on the hub."""
    count: int | None = None
    """How many scenes; as many as the model's card has if not given."""
    actors: int = 1
    """Objects in each scene, for adherence and ceiling."""
    data: Path | None = None
    """For reconstruction: clips of your own, as kinetoken data prepare wrote them. They are measured as they are."""
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
    output: Path | None = None
    """A folder for figures.json, records.jsonl and a sheet of the clips, the wrong ones marked."""

    def execute(self) -> None:
        count = USUAL_COUNT[self.what] if self.count is None else self.count
        if count < 1 or self.actors not in (1, 2, 3):
            raise ValueError(f"--count must be at least 1 and --actors 1, 2 or 3, found {count} and {self.actors}")
        if (self.data or self.trained_on) and (self.what != "reconstruction" or self.data is None):
            raise ValueError("--data is for reconstruction, and --trained-on for --data")
        if self.what == "judge":
            from kinetoken.evaluation.judge_report import judge_report

            figures: dict[str, Any] = judge_report(count, 0)
            records: list[Record] = []
        else:
            from kinetoken.evaluation.generation import FIRST_SEED, summary

            total = count
            if self.what == "tasks":
                from kinetoken.evaluation.tasks import JOBS  # type: ignore[assignment]
                from kinetoken.evaluation.tasks import summary_by_job as summary

                total = count * len(JOBS)
            records = list(progress(self._records(count), self.what, total=total))
            split = "train, seeds never trained on" if self.what == "gravity" else "held-out"
            source = {"split": split, "first_seed": FIRST_SEED} if self.data is None else self._source()
            figures = summary(records) | source
        print(json.dumps({"measurement": self.what, "model": self.model, "actors": self.actors} | figures, indent=2))
        if self.output is not None:
            self._write(figures, records)
        if self.what == "tasks":
            from kinetoken.evaluation.tasks import broken_promises

            if broken := broken_promises(records):
                raise SystemExit("broken promises: " + "; ".join(broken))

    def _records(self, count: int) -> "Iterator[Record]":
        from kinetoken.evaluation import generation
        from kinetoken.generator import Generator

        generator = Generator.from_pretrained(self.model, device=self.device).with_sampling(
            steps=self.steps, guidance=self.guidance, temperature=self.temperature, revision=self.revision
        )
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
                    generator.tokenizer, shards, count=count, trained_on=self.trained_on
                )
            case "reconstruction":
                return generation.reconstruction(generator.tokenizer, count=count)
            case "drift":
                return generation.drift(generator, count=count)
            case _:
                return generation.gravity(generator, count=count)

    def _source(self) -> dict[str, str]:
        against = ", ".join(map(str, self.trained_on))
        split = f"none in {against} (by hash of the pixels)" if against else "not compared with training clips"
        return {"data": str(self.data), "split": split, "resize": "none"}

    def _write(self, figures: dict[str, Any], records: "Sequence[Record]") -> None:
        assert self.output is not None
        self.output.mkdir(parents=True, exist_ok=True)
        (self.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
        with (self.output / "records.jsonl").open("w") as lines:
            for record in records:
                fields = {"seed": record.seed, "text": record.text, "figure": record.figure, "verdict": record.verdict}
                fields |= record.measures
                lines.write(json.dumps(fields) + "\n")
        clips = [(record.clip, record.right) for record in records[:48] if record.clip is not None]
        if clips:
            from kinetoken.apps.sheets import save_sheet

            save_sheet([clip for clip, _ in clips], self.output / "clips.png", marks=[right for _, right in clips])
